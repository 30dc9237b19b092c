/* Dicts → EXI. */
#include "exi_python.h"

#include <string.h>

enum { FIRST_BYTES = 4096 };

struct encoding {
    const struct module_state *state;
    struct exi_writer writer;
    uint16_t path[EXI_MAX_DEPTH];
    uint32_t depth;
};

/* The content of one element while it is being written. */
struct content {
    PyObject *dict;
    PyObject *items;      /* the list that is being written: of "#items" or of a repeated element; borrowed */
    Py_ssize_t item;      /* its next entry */
    PyObject *items_name; /* the repeated element; NULL in "#items" */
    Py_ssize_t used;      /* keys of the dict that were written */
    const struct exi_type *type;
};

/* Raises ExiError with a formatted reason; takes over `reason`. */
static bool refuse(const struct encoding *e, PyObject *reason) {
    exi_py_raise(e->state, e->path, e->depth, -1, reason);
    return false;
}

static bool expected(const struct encoding *e, const char *what, PyObject *found) {
    return refuse(e, PyUnicode_FromFormat("must be %s, not %s", what, Py_TYPE(found)->tp_name));
}

static bool enumeration_index(const struct encoding *e, const struct exi_value *value, PyObject *word, uint64_t *index) {
    const uint16_t *words = &e->writer.schema->words[value->words];
    for (uint16_t i = 0; i < value->number; i++) {
        if (e->state->names[words[i]] == word) {
            *index = i;
            return true;
        }
    }
    for (uint16_t i = 0; i < value->number; i++) {
        if (PyUnicode_Compare(e->state->names[words[i]], word) == 0) {
            *index = i;
            return true;
        }
    }
    return refuse(e, PyUnicode_FromFormat("%R is not among the %u values of its enumeration (%U .. %U)", word, value->number,
                                          e->state->names[words[0]], e->state->names[words[value->number - 1]]));
}

static bool out_of_range(const struct encoding *e, const struct exi_value *value, PyObject *number) {
    return refuse(
        e, PyUnicode_FromFormat("%S is outside %lld..%llu", number, (long long)value->least, (unsigned long long)value->most));
}

static bool integer_scalar(const struct encoding *e, const struct exi_value *value, PyObject *number,
                           struct exi_scalar *scalar) {
    if (!PyLong_Check(number) || PyBool_Check(number))
        return expected(e, "int", number);
    int overflow;
    long long small = PyLong_AsLongLongAndOverflow(number, &overflow);
    scalar->negative = small < 0;
    scalar->number = (uint64_t)small;
    if (overflow > 0) {
        scalar->negative = false;
        scalar->number = PyLong_AsUnsignedLongLong(number);
        if (PyErr_Occurred()) {
            PyErr_Clear();
            return out_of_range(e, value, number);
        }
    }
    return (overflow >= 0 && exi_fits(value, scalar)) || out_of_range(e, value, number);
}

static bool big_scalar(const struct encoding *e, PyObject *number, struct exi_scalar *scalar) {
    if (!PyLong_Check(number) || PyBool_Check(number))
        return expected(e, "int", number);
    int overflow;
    scalar->negative = PyLong_AsLongLongAndOverflow(number, &overflow) < 0;
    if (overflow != 0)
        scalar->negative = overflow < 0;
    PyObject *magnitude = scalar->negative ? PyNumber_Invert(number) : Py_NewRef(number);
    PyObject *octets =
        magnitude == NULL ? NULL : PyObject_CallMethod(magnitude, "to_bytes", "is", (int)EXI_BIG_OCTETS, "little");
    Py_XDECREF(magnitude);
    if (octets == NULL) {
        PyErr_Clear();
        return refuse(e, PyUnicode_FromFormat("has more than %d octets", EXI_BIG_OCTETS));
    }
    memcpy(scalar->octets, PyBytes_AS_STRING(octets), EXI_BIG_OCTETS);
    Py_DECREF(octets);
    return true;
}

static bool check_length(const struct encoding *e, const struct exi_value *value, Py_ssize_t length,
                         struct exi_scalar *scalar) {
    const char *unit = value->coding == EXI_BINARY ? "octets" : "characters";
    scalar->length = length > (Py_ssize_t)EXI_MAX_BYTES ? EXI_MAX_BYTES + 1 : (uint32_t)length;
    if (exi_fits(value, scalar) && scalar->length <= EXI_MAX_BYTES)
        return true;
    if (value->most == UINT64_MAX)
        return refuse(e, PyUnicode_FromFormat("has %zd %s, allowed are at least %lld", length, unit, (long long)value->least));
    return refuse(e, PyUnicode_FromFormat("has %zd %s, allowed are %lld..%llu", length, unit, (long long)value->least,
                                          (unsigned long long)value->most));
}

static bool write_string(struct encoding *e, const struct exi_value *value, PyObject *text) {
    struct exi_scalar scalar;
    if (!PyUnicode_Check(text))
        return expected(e, "str", text);
    Py_ssize_t length = PyUnicode_GET_LENGTH(text);
    if (!check_length(e, value, length, &scalar))
        return false;
    exi_write_value(&e->writer, value, &scalar);
    int kind = PyUnicode_KIND(text);
    const void *data = PyUnicode_DATA(text);
    for (Py_ssize_t i = 0; i < length; i++) {
        Py_UCS4 character = PyUnicode_READ(kind, data, i);
        if (Py_UNICODE_IS_SURROGATE(character))
            return refuse(e, PyUnicode_FromString("holds a surrogate, which is no character"));
        exi_write_character(&e->writer, character);
    }
    return true;
}

static bool write_binary(struct encoding *e, const struct exi_value *value, PyObject *octets) {
    struct exi_scalar scalar;
    if (!PyBytes_Check(octets))
        return expected(e, "bytes", octets);
    Py_ssize_t length = PyBytes_GET_SIZE(octets);
    if (!check_length(e, value, length, &scalar))
        return false;
    exi_write_value(&e->writer, value, &scalar);
    exi_write_octets(&e->writer, (const uint8_t *)PyBytes_AS_STRING(octets), (size_t)length);
    return true;
}

static bool write_value(struct encoding *e, const struct exi_value *value, PyObject *object) {
    struct exi_scalar scalar = {.length = 0};
    switch (value->coding) {
    case EXI_BOOLEAN:
        if (!PyBool_Check(object))
            return expected(e, "bool", object);
        scalar.number = object == Py_True;
        break;
    case EXI_ENUMERATION:
        if (!PyUnicode_Check(object))
            return expected(e, "str", object);
        if (!enumeration_index(e, value, object, &scalar.number))
            return false;
        break;
    case EXI_STRING:
        return write_string(e, value, object);
    case EXI_BINARY:
        return write_binary(e, value, object);
    case EXI_BIG:
        if (!big_scalar(e, object, &scalar))
            return false;
        break;
    default:
        if (!integer_scalar(e, value, object, &scalar))
            return false;
    }
    exi_write_value(&e->writer, value, &scalar);
    return true;
}

static bool write_content(struct encoding *e, const struct exi_type *type, PyObject *dict);

static bool write_item(struct encoding *e, const struct exi_production *production, PyObject *object) {
    const struct exi_schema *schema = e->writer.schema;
    bool done = true;
    if (production->kind == EXI_TEXT)
        return write_value(e, &schema->values[production->target], object);
    e->path[e->depth++] = production->name;
    if (production->flags & EXI_ABSTRACT)
        return refuse(e, PyUnicode_FromString("is abstract: one of its substitutes is needed"));
    if (production->kind != EXI_ATTRIBUTE && ++e->writer.items > EXI_MAX_ITEMS)
        return refuse(e, PyUnicode_FromFormat("more than %u elements", EXI_MAX_ITEMS));
    if (production->kind == EXI_LEAF) {
        exi_write_leaf_edge(&e->writer);
        done = write_value(e, &schema->values[production->target], object);
        exi_write_leaf_edge(&e->writer);
    } else if (production->kind == EXI_ELEMENT) {
        done = write_content(e, &schema->types[production->target], object);
    } else {
        done = write_value(e, &schema->values[production->target], object);
    }
    if (done)
        e->depth--;
    return done;
}

/* The next entry of "#items" when it is called `key`; borrowed. */
static PyObject *next_item(const struct content *c, PyObject *key) {
    if (c->items == NULL || c->item >= PyList_GET_SIZE(c->items))
        return NULL;
    return PyDict_GetItemWithError(PyList_GET_ITEM(c->items, c->item), key);
}

static bool too_many(const struct encoding *e, const struct content *c) {
    return refuse(
        e, PyUnicode_FromFormat("%U has %zd entries, only %zd are allowed", c->items_name, PyList_GET_SIZE(c->items), c->item));
}

/* The first entry of the list of a repeated element; borrowed. */
static PyObject *open_list(const struct encoding *e, struct content *c, PyObject *key, PyObject *list) {
    if (!PyList_Check(list)) {
        refuse(e, PyUnicode_FromFormat("%U must be a list, not %s", key, Py_TYPE(list)->tp_name));
        return NULL;
    }
    if (c->items != NULL && c->item < PyList_GET_SIZE(c->items)) {
        too_many(e, c);
        return NULL;
    }
    if (PyList_GET_SIZE(list) == 0) {
        refuse(e, PyUnicode_FromFormat("%U is an empty list: leave it out", key));
        return NULL;
    }
    c->items = list;
    c->items_name = key;
    c->item = 0;
    return PyList_GET_ITEM(list, 0);
}

/* What the dict holds for a production; NULL when nothing (or with an exception set). Borrowed. */
static PyObject *held(const struct encoding *e, struct content *c, const struct exi_production *production) {
    PyObject *key = production->kind == EXI_TEXT ? e->state->text_key : e->state->names[production->name];
    if (c->type->content == EXI_ITEMS && production->kind != EXI_ATTRIBUTE)
        return next_item(c, key);
    if (key == c->items_name)
        return c->item < PyList_GET_SIZE(c->items) ? PyList_GET_ITEM(c->items, c->item) : NULL;
    PyObject *object = PyDict_GetItemWithError(c->dict, key);
    if (object == NULL)
        return NULL;
    return production->flags & EXI_MANY ? open_list(e, c, key, object) : object;
}

/* One more entry was written. */
static void mark_used(struct content *c, const struct exi_production *production) {
    if (c->type->content == EXI_ITEMS && production->kind != EXI_ATTRIBUTE)
        c->item++;
    else if (!(production->flags & EXI_MANY) || c->item++ == 0)
        c->used++;
}

static bool missing(const struct encoding *e, struct exi_choices choices) {
    PyObject *names = PyUnicode_FromString("");
    for (uint16_t i = 0; i < choices.number && names != NULL; i++) {
        uint8_t kind = choices.production[i].kind;
        if (kind == EXI_WILDCARD || kind == EXI_MIXED)
            continue;
        PyObject *key = kind == EXI_TEXT ? e->state->text_key : e->state->names[choices.production[i].name];
        PyObject *longer = PyUnicode_FromFormat("%U%s%U", names, PyUnicode_GET_LENGTH(names) == 0 ? "" : " or ", key);
        Py_SETREF(names, longer);
    }
    PyObject *reason = names == NULL ? NULL : PyUnicode_FromFormat("missing %U", names);
    Py_XDECREF(names);
    return refuse(e, reason);
}

/* All keys and list entries were written, else ExiError. */
static bool nothing_left(const struct encoding *e, const struct content *c) {
    if (c->items != NULL && c->item < PyList_GET_SIZE(c->items)) {
        if (c->items_name == NULL)
            return refuse(e, PyUnicode_FromFormat("#items: entry %zd is not allowed here", c->item));
        return too_many(e, c);
    }
    if (c->used == PyDict_GET_SIZE(c->dict))
        return true;
    PyObject *keys = PyDict_Keys(c->dict);
    PyObject *reason =
        keys == NULL ? NULL : PyUnicode_FromFormat("of %R only %zd are known or allowed together", keys, c->used);
    Py_XDECREF(keys);
    return refuse(e, reason);
}

static bool check_items(const struct encoding *e, struct content *c) {
    c->items = PyDict_GetItemWithError(c->dict, e->state->items_key);
    if (c->items == NULL)
        return !PyErr_Occurred();
    bool good = PyList_Check(c->items);
    for (Py_ssize_t i = 0; good && i < PyList_GET_SIZE(c->items); i++) {
        PyObject *item = PyList_GET_ITEM(c->items, i);
        good = PyDict_Check(item) && PyDict_GET_SIZE(item) == 1;
    }
    c->used++;
    return good || refuse(e, PyUnicode_FromString("#items must be a list of dicts with one key each"));
}

/* Content whose dict may be in any order: every key is looked up. */
static bool write_looked_up(struct encoding *e, const struct exi_type *type, PyObject *dict) {
    const struct exi_schema *schema = e->writer.schema;
    struct content c = {.dict = dict, .type = type};
    struct exi_cursor cursor = {type->start, 0};
    if (type->content == EXI_ITEMS && !check_items(e, &c))
        return false;
    for (;;) {
        struct exi_choices choices = exi_choices_at(schema, &cursor);
        PyObject *object = NULL;
        uint16_t code = 0;
        for (; code < choices.number; code++) {
            uint8_t kind = choices.production[code].kind;
            if (kind == EXI_END)
                break;
            if (kind == EXI_WILDCARD || kind == EXI_MIXED)
                continue;
            if ((object = held(e, &c, &choices.production[code])) != NULL)
                break;
            if (PyErr_Occurred())
                return false;
        }
        if (code == choices.number)
            return missing(e, choices);
        exi_write_event(&e->writer, &cursor, choices, code);
        if (object == NULL)
            return nothing_left(e, &c);
        if (!write_item(e, &choices.production[code], object))
            return false;
        mark_used(&c, &choices.production[code]);
    }
}

/* The event code of the production called `key`, or of the end when key is NULL; choices.number when there is none. */
static uint16_t code_of(const struct encoding *e, struct exi_choices choices, const PyObject *key) {
    for (uint16_t code = 0; code < choices.number; code++) {
        const struct exi_production *production = &choices.production[code];
        if (production->kind <= EXI_ELEMENT ? e->state->names[production->name] == key
                                            : production->kind == EXI_END && key == NULL)
            return code;
    }
    return choices.number;
}

enum outcome { WRITTEN, FAILED, NOT_IN_ORDER };

/* Content whose dict has interned keys in schema order, as decode makes them: no key is looked up. */
static enum outcome write_in_order(struct encoding *e, const struct exi_type *type, PyObject *dict) {
    const struct exi_schema *schema = e->writer.schema;
    struct exi_cursor cursor = {type->start, 0};
    PyObject *key, *value;
    Py_ssize_t position = 0;
    for (;;) {
        bool more = PyDict_Next(dict, &position, &key, &value);
        PyObject *const *objects = &value;
        Py_ssize_t number = 1;
        for (Py_ssize_t i = 0; i < number; i++) {
            struct exi_choices choices = exi_choices_at(schema, &cursor);
            uint16_t code = code_of(e, choices, more ? key : NULL);
            if (code == choices.number)
                return NOT_IN_ORDER;
            const struct exi_production *production = &choices.production[code];
            exi_write_event(&e->writer, &cursor, choices, code);
            if (!more)
                return WRITTEN;
            if (i == 0 && production->flags & EXI_MANY) {
                if (!PyList_Check(value) || PyList_GET_SIZE(value) == 0)
                    return NOT_IN_ORDER;
                objects = PySequence_Fast_ITEMS(value);
                number = PyList_GET_SIZE(value);
            }
            if (!write_item(e, production, objects[i]))
                return FAILED;
        }
    }
}

static bool write_content(struct encoding *e, const struct exi_type *type, PyObject *dict) {
    if (!PyDict_Check(dict))
        return expected(e, "dict", dict);
    if (type->content == EXI_CHILDREN) {
        struct exi_writer start = e->writer;
        enum outcome outcome = write_in_order(e, type, dict);
        if (outcome != NOT_IN_ORDER)
            return outcome == WRITTEN;
        start.full = e->writer.full;
        e->writer = start;
    }
    return write_looked_up(e, type, dict);
}

/* Index of a key among the roots, `number` when there is none; an interned key is found without comparing text. */
static uint16_t root_code(const struct encoding *e, const struct exi_production *roots, uint16_t number, PyObject *key) {
    for (uint16_t code = 0; code < number; code++)
        if (e->state->names[roots[code].name] == key)
            return code;
    uint16_t code = 0;
    while (code < number && PyUnicode_Compare(e->state->names[roots[code].name], key) != 0)
        code++;
    return code;
}

/* Writes the whole message; 0 with an exception set, or without when the buffer was too small. */
static size_t write_message(struct encoding *e, PyObject *name, PyObject *content) {
    const struct exi_schema *schema = e->writer.schema;
    const struct exi_production *roots = e->writer.fragment ? schema->fragments : schema->documents;
    uint16_t number = e->writer.fragment ? schema->fragment_number : schema->document_number;
    uint16_t code = root_code(e, roots, number, name);
    if (code == number) {
        refuse(e, PyUnicode_FromFormat("unknown root element %R", name));
        return 0;
    }
    exi_write_root(&e->writer, code);
    return write_item(e, &roots[code], content) ? exi_write_end(&e->writer) : 0;
}

static PyObject *encode(PyObject *module, PyObject *const *arguments, Py_ssize_t number, bool fragment) {
    struct module_state *state = exi_py_state(module);
    struct encoding e = {.state = state};
    if (number != 2) {
        PyErr_SetString(PyExc_TypeError, "expected (schema, document)");
        return NULL;
    }
    const struct exi_schema *schema = exi_py_schema(arguments[0]);
    if (schema == NULL)
        return NULL;
    PyObject *name, *content;
    Py_ssize_t position = 0;
    if (!PyDict_Check(arguments[1]) || PyDict_GET_SIZE(arguments[1]) != 1 ||
        !PyDict_Next(arguments[1], &position, &name, &content) || !PyUnicode_Check(name)) {
        refuse(&e, PyUnicode_FromString("a message is a dict with exactly one key, the name of its root element"));
        return NULL;
    }
    uint8_t first[FIRST_BYTES];
    e.writer = (struct exi_writer){.schema = schema, .data = first, .capacity = sizeof first, .fragment = fragment};
    size_t size = write_message(&e, name, content);
    if (size != 0)
        return PyBytes_FromStringAndSize((const char *)first, (Py_ssize_t)size);
    if (PyErr_Occurred())
        return NULL;
    uint8_t *large = PyMem_Malloc(EXI_MAX_BYTES);
    if (large == NULL)
        return PyErr_NoMemory();
    e.writer = (struct exi_writer){.schema = schema, .data = large, .capacity = EXI_MAX_BYTES, .fragment = fragment};
    e.depth = 0;
    size = write_message(&e, name, content);
    PyObject *octets = size == 0 ? NULL : PyBytes_FromStringAndSize((const char *)large, (Py_ssize_t)size);
    PyMem_Free(large);
    if (size == 0 && !PyErr_Occurred())
        refuse(&e, PyUnicode_FromFormat("the message is longer than %u octets", EXI_MAX_BYTES));
    return octets;
}

PyObject *exi_py_encode(PyObject *module, PyObject *const *arguments, Py_ssize_t number) {
    return encode(module, arguments, number, false);
}

PyObject *exi_py_encode_fragment(PyObject *module, PyObject *const *arguments, Py_ssize_t number) {
    return encode(module, arguments, number, true);
}
