/* EXI → dicts. */
#include "exi_python.h"

enum { STACK_CHARACTERS = 256, LINE = 256 };

struct decoding {
    const struct module_state *state;
    struct exi_reader reader;
};

static PyObject *read_string(struct decoding *d, uint32_t length) {
    uint32_t small[STACK_CHARACTERS], *characters = small;
    if (length > STACK_CHARACTERS && (characters = PyMem_Malloc(length * sizeof *characters)) == NULL)
        return PyErr_NoMemory();
    PyObject *text = NULL;
    if (exi_read_characters(&d->reader, characters, length))
        text = PyUnicode_FromKindAndData(PyUnicode_4BYTE_KIND, characters, length);
    if (characters != small)
        PyMem_Free(characters);
    return text;
}

static PyObject *read_binary(struct decoding *d, uint32_t length) {
    PyObject *octets = PyBytes_FromStringAndSize(NULL, length);
    if (octets != NULL && !exi_read_octets(&d->reader, (uint8_t *)PyBytes_AS_STRING(octets), length))
        Py_CLEAR(octets);
    return octets;
}

static PyObject *big_integer(const struct exi_scalar *scalar) {
    PyObject *magnitude = PyObject_CallMethod((PyObject *)&PyLong_Type, "from_bytes", "y#s", (const char *)scalar->octets,
                                              (Py_ssize_t)EXI_BIG_OCTETS, "little");
    if (magnitude == NULL || !scalar->negative)
        return magnitude;
    PyObject *number = PyNumber_Invert(magnitude);
    Py_DECREF(magnitude);
    return number;
}

static PyObject *read_scalar(struct decoding *d, const struct exi_value *value, const struct exi_scalar *scalar) {
    switch (value->coding) {
    case EXI_BOOLEAN:
        return PyBool_FromLong(scalar->number != 0);
    case EXI_ENUMERATION:
        return Py_NewRef(d->state->names[d->reader.schema->words[value->words + scalar->number]]);
    case EXI_STRING:
        return read_string(d, scalar->length);
    case EXI_BINARY:
        return read_binary(d, scalar->length);
    case EXI_BIG:
        return big_integer(scalar);
    default:
        if (scalar->negative)
            return PyLong_FromLongLong((long long)scalar->number);
        return PyLong_FromUnsignedLongLong(scalar->number);
    }
}

static PyObject *read_leaf(struct decoding *d, const struct exi_value *value) {
    struct exi_scalar scalar;
    if (!exi_read_leaf(&d->reader, value, &scalar))
        return NULL;
    PyObject *made = read_scalar(d, value, &scalar);
    if (made != NULL && !exi_read_leaf_end(&d->reader))
        Py_CLEAR(made);
    return made;
}

static PyObject *read_content(struct decoding *d, const struct exi_type *type, struct exi_cursor *cursor);

/* The value of an attribute, a leaf, an element or a text. */
static PyObject *read_item(struct decoding *d, const struct exi_production *production) {
    const struct exi_schema *schema = d->reader.schema;
    struct exi_cursor cursor;
    struct exi_scalar scalar;
    PyObject *made = NULL;
    if (production->kind == EXI_TEXT) {
        const struct exi_value *value = &schema->values[production->target];
        return exi_read_value(&d->reader, value, &scalar) ? read_scalar(d, value, &scalar) : NULL;
    }
    if (!exi_read_enter(&d->reader, production, &cursor))
        return NULL;
    if (production->kind == EXI_LEAF)
        made = read_leaf(d, &schema->values[production->target]);
    else if (production->kind == EXI_ELEMENT)
        made = read_content(d, &schema->types[production->target], &cursor);
    else if (exi_read_value(&d->reader, &schema->values[production->target], &scalar))
        made = read_scalar(d, &schema->values[production->target], &scalar);
    if (made != NULL)
        exi_read_leave(&d->reader);
    return made;
}

/* Appends to the list under `key`, which is made when it isn't there; takes over `item`. */
static bool append_item(PyObject *dict, PyObject *key, PyObject *item) {
    PyObject *list = PyDict_GetItemWithError(dict, key);
    bool done = false;
    if (list != NULL) {
        done = PyList_Append(list, item) == 0;
    } else if (!PyErr_Occurred() && (list = PyList_New(1)) != NULL) {
        PyList_SET_ITEM(list, 0, Py_NewRef(item));
        done = PyDict_SetItem(dict, key, list) == 0;
        Py_DECREF(list);
    }
    Py_DECREF(item);
    return done;
}

static bool store_item(struct decoding *d, const struct exi_type *type, PyObject *dict, const struct exi_production *production,
                       PyObject *item) {
    PyObject *key = production->kind == EXI_TEXT ? d->state->text_key : d->state->names[production->name];
    if (type->content == EXI_ITEMS && production->kind != EXI_ATTRIBUTE) {
        PyObject *pair = PyDict_New();
        bool set = pair != NULL && PyDict_SetItem(pair, key, item) == 0;
        Py_DECREF(item);
        if (set)
            return append_item(dict, d->state->items_key, pair);
        Py_XDECREF(pair);
        return false;
    }
    if (production->flags & EXI_MANY)
        return append_item(dict, key, item);
    bool set = PyDict_SetItem(dict, key, item) == 0;
    Py_DECREF(item);
    return set;
}

static PyObject *read_content(struct decoding *d, const struct exi_type *type, struct exi_cursor *cursor) {
    PyObject *dict = PyDict_New();
    while (dict != NULL) {
        const struct exi_production *production = exi_read_event(&d->reader, cursor);
        if (production != NULL && production->kind == EXI_END)
            break;
        PyObject *item = production == NULL ? NULL : read_item(d, production);
        if (item == NULL || !store_item(d, type, dict, production, item))
            Py_CLEAR(dict);
    }
    return dict;
}

static void raise_read_error(const struct decoding *d) {
    char line[LINE];
    if (PyErr_Occurred())
        return;
    exi_read_message(&d->reader, line, sizeof line);
    exi_py_raise(d->state, d->reader.path, d->reader.depth, (long long)d->reader.error_position, PyUnicode_FromString(line));
}

static PyObject *decode(PyObject *module, PyObject *const *arguments, Py_ssize_t number, PyObject *keywords, bool fragment) {
    bool strict = false;
    Py_ssize_t named = keywords == NULL ? 0 : PyTuple_GET_SIZE(keywords);
    if (number != 2 || named > 1 ||
        (named == 1 && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(keywords, 0), "strict") != 0)) {
        PyErr_SetString(PyExc_TypeError, "expected (schema, data, *, strict=False)");
        return NULL;
    }
    if (named == 1) {
        int truth = PyObject_IsTrue(arguments[2]);
        if (truth < 0)
            return NULL;
        strict = truth;
    }
    const struct exi_schema *schema = exi_py_schema(arguments[0]);
    Py_buffer data;
    if (schema == NULL || PyObject_GetBuffer(arguments[1], &data, PyBUF_SIMPLE) != 0)
        return NULL;
    struct decoding d = {
        .state = exi_py_state(module),
        .reader = {.schema = schema, .data = data.buf, .size = 8 * (uint64_t)data.len, .strict = strict, .fragment = fragment}};
    PyObject *document = NULL;
    const struct exi_production *root = exi_read_root(&d.reader);
    PyObject *content = root == NULL ? NULL : read_item(&d, root);
    if (content != NULL && exi_read_end(&d.reader) && (document = PyDict_New()) != NULL &&
        PyDict_SetItem(document, d.state->names[root->name], content) != 0)
        Py_CLEAR(document);
    Py_XDECREF(content);
    if (document == NULL)
        raise_read_error(&d);
    PyBuffer_Release(&data);
    return document;
}

PyObject *exi_py_decode(PyObject *module, PyObject *const *arguments, Py_ssize_t number, PyObject *keywords) {
    return decode(module, arguments, number, keywords, false);
}

PyObject *exi_py_decode_fragment(PyObject *module, PyObject *const *arguments, Py_ssize_t number, PyObject *keywords) {
    return decode(module, arguments, number, keywords, true);
}
