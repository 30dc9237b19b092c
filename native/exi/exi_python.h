/* What the files of the Python module share; see exi.h for the codec itself.
 *
 * Messages become and come from plain dicts in one pass without anything in between. Recursion follows the nesting of the
 * message, which the grammars bound (EXI_MAX_DEPTH). The module's state is made once at import and only read afterwards.
 */
#ifndef V2G_EXI_PYTHON_H
#define V2G_EXI_PYTHON_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "exi.h"

struct module_state {
    PyObject *error;  /* edge.iso15118.exi.errors.ExiError */
    PyObject **names; /* interned strings, parallel to exi_names */
    PyObject *text_key, *items_key;
};

struct module_state *exi_py_state(PyObject *module);

/* The schema set that an argument names by its number; NULL with an exception set. */
const struct exi_schema *exi_py_schema(PyObject *argument);

/* Raises ExiError; takes over `reason`. bit -1: none. */
void exi_py_raise(const struct module_state *state, const uint16_t *path, uint32_t depth, long long bit, PyObject *reason);

PyObject *exi_py_encode(PyObject *module, PyObject *const *arguments, Py_ssize_t number);
PyObject *exi_py_encode_fragment(PyObject *module, PyObject *const *arguments, Py_ssize_t number);
PyObject *exi_py_decode(PyObject *module, PyObject *const *arguments, Py_ssize_t number, PyObject *keywords);
PyObject *exi_py_decode_fragment(PyObject *module, PyObject *const *arguments, Py_ssize_t number, PyObject *keywords);

#endif
