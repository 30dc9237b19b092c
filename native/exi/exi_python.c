/* The Python module _exi: its state, its errors and its four functions. */
#include "exi_python.h"

struct module_state *exi_py_state(PyObject *module) {
    return PyModule_GetState(module);
}

static PyObject *joined_path(const struct module_state *state, const uint16_t *path, uint32_t depth) {
    PyObject *parts = PyList_New(depth);
    if (parts == NULL)
        return NULL;
    for (uint32_t i = 0; i < depth; i++)
        PyList_SET_ITEM(parts, i, Py_NewRef(state->names[path[i]]));
    PyObject *slash = PyUnicode_FromString("/");
    PyObject *text = slash == NULL ? NULL : PyUnicode_Join(slash, parts);
    Py_XDECREF(slash);
    Py_DECREF(parts);
    return text;
}

void exi_py_raise(const struct module_state *state, const uint16_t *path, uint32_t depth, long long bit, PyObject *reason) {
    PyObject *text = reason == NULL ? NULL : joined_path(state, path, depth);
    PyObject *error = text == NULL ? NULL : PyObject_CallFunction(state->error, "OLO", text, bit, reason);
    if (error != NULL)
        PyErr_SetObject(state->error, error);
    Py_XDECREF(error);
    Py_XDECREF(text);
    Py_XDECREF(reason);
}

const struct exi_schema *exi_py_schema(PyObject *argument) {
    long number = PyLong_AsLong(argument);
    if (number == -1 && PyErr_Occurred())
        return NULL;
    if (number < 0 || number >= exi_schema_number) {
        PyErr_Format(PyExc_ValueError, "no schema set has the number %ld", number);
        return NULL;
    }
    return &exi_schemas[number];
}

static int add_schema_keys(PyObject *module) {
    PyObject *keys = PyTuple_New(exi_schema_number);
    if (keys == NULL)
        return -1;
    for (uint16_t i = 0; i < exi_schema_number; i++)
        PyTuple_SET_ITEM(keys, i, PyUnicode_FromString(exi_schemas[i].key));
    int result = PyModule_AddObjectRef(module, "SCHEMAS", keys);
    Py_DECREF(keys);
    return result;
}

static int prepare(PyObject *module) {
    struct module_state *state = exi_py_state(module);
    PyObject *errors = PyImport_ImportModule("edge.iso15118.exi.errors");
    state->error = errors == NULL ? NULL : PyObject_GetAttrString(errors, "ExiError");
    Py_XDECREF(errors);
    state->names = PyMem_Calloc(exi_name_number, sizeof *state->names);
    state->text_key = PyUnicode_InternFromString("#text");
    state->items_key = PyUnicode_InternFromString("#items");
    if (state->error == NULL || state->names == NULL || state->text_key == NULL || state->items_key == NULL)
        return -1;
    for (uint16_t i = 0; i < exi_name_number; i++)
        if ((state->names[i] = PyUnicode_InternFromString(exi_names[i])) == NULL)
            return -1;
    return add_schema_keys(module);
}

static int traverse(PyObject *module, visitproc visit, void *arg) {
    struct module_state *state = exi_py_state(module);
    Py_VISIT(state->error);
    return 0;
}

static int clear(PyObject *module) {
    struct module_state *state = exi_py_state(module);
    Py_CLEAR(state->error);
    Py_CLEAR(state->text_key);
    Py_CLEAR(state->items_key);
    for (uint16_t i = 0; state->names != NULL && i < exi_name_number; i++)
        Py_CLEAR(state->names[i]);
    return 0;
}

static void release(void *module) {
    clear(module);
    PyMem_Free(exi_py_state(module)->names);
}

static PyMethodDef methods[] = {
    {"encode", (PyCFunction)(void (*)(void))exi_py_encode, METH_FASTCALL, "encode(schema, document) -> bytes"},
    {"encode_fragment", (PyCFunction)(void (*)(void))exi_py_encode_fragment, METH_FASTCALL,
     "encode_fragment(schema, document) -> bytes"},
    {"decode", (PyCFunction)(void (*)(void))exi_py_decode, METH_FASTCALL | METH_KEYWORDS,
     "decode(schema, data, *, strict=False) -> dict"},
    {"decode_fragment", (PyCFunction)(void (*)(void))exi_py_decode_fragment, METH_FASTCALL | METH_KEYWORDS,
     "decode_fragment(schema, data, *, strict=False) -> dict"},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{Py_mod_exec, (void *)prepare}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_exi",
    .m_doc = "The native EXI codec; edge.iso15118.exi documents it.",
    .m_size = sizeof(struct module_state),
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = traverse,
    .m_clear = clear,
    .m_free = release,
};

PyMODINIT_FUNC PyInit__exi(void);

PyMODINIT_FUNC PyInit__exi(void) {
    return PyModuleDef_Init(&definition);
}
