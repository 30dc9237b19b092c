/* EXI for vehicle-to-grid messages: bits in, bits out, steered by constant grammar tables.
 *
 * The profile is that of ISO 15118 and DIN 70121: header 0x80, schema-informed, bit-packed, strict = false, nothing preserved,
 * no string table. The tables (exi_tables.c) are made in the build by native/exi/compiler from the XML schemas.
 *
 * No allocation, no global state, no recursion here: a caller keeps a reader or a writer and one cursor for each open element.
 * A failed call leaves the reason in reader.error or writer.error, and every later call on it fails too.
 */
#ifndef V2G_EXI_H
#define V2G_EXI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXI_HEADER     0x80
#define EXI_MAX_BYTES  (1u << 20) /* octets of one message; edge/iso15118/exi/limits.py has the same bounds and says why */
#define EXI_MAX_ITEMS  (1u << 18) /* elements of one message */
#define EXI_BIG_OCTETS 32         /* octets of an unlimited integer */
#define EXI_MAX_DEPTH  12         /* nested elements and attribute; the compiler refuses schemas that need more */
#define EXI_UNBOUNDED  0xFFFF     /* maxOccurs="unbounded" */

enum exi_kind { EXI_ATTRIBUTE, EXI_LEAF, EXI_ELEMENT, EXI_WILDCARD, EXI_END, EXI_TEXT, EXI_MIXED };
enum exi_flag { EXI_MANY = 1, EXI_ABSTRACT = 2 };
enum exi_content { EXI_CHILDREN, EXI_TEXT_ONLY, EXI_ITEMS };
enum exi_coding { EXI_BOOLEAN, EXI_ENUMERATION, EXI_NBIT, EXI_UNSIGNED, EXI_SIGNED, EXI_BIG, EXI_STRING, EXI_BINARY };

/* One alternative of a state. An attribute, a leaf (element with a simple type) and a text have a value, an element has a type.
 */
struct exi_production {
    uint16_t name;   /* index into exi_names */
    uint16_t target; /* index into values (attribute, leaf, text) or types (element) of the schema */
    uint16_t next;   /* state that follows */
    uint8_t kind;    /* enum exi_kind */
    uint8_t flags;   /* enum exi_flag */
};

/* The first `repeats` productions are the element after which this state comes, once more: below `least` occurrences only
 * they apply, at `most` they are gone. */
struct exi_state {
    uint16_t first; /* index into productions */
    uint16_t number;
    uint16_t repeats;
    uint16_t least, most; /* occurrences; EXI_UNBOUNDED */
};

struct exi_value {
    int64_t least;  /* smallest integer or length */
    uint64_t most;  /* largest integer or length (characters, octets); UINT64_MAX for a length means no bound */
    uint16_t words; /* enumeration: first entry in the schema's words */
    uint16_t number;
    uint8_t coding; /* enum exi_coding */
    uint8_t width;  /* bits of an enumeration or an n-bit integer */
};

struct exi_type {
    uint16_t start;  /* state */
    uint8_t content; /* enum exi_content */
};

struct exi_schema {
    const char *key;
    const struct exi_production *productions, *documents, *fragments;
    const struct exi_state *states;
    const struct exi_value *values;
    const struct exi_type *types;
    const uint16_t *words; /* enumeration values: indices into exi_names */
    uint16_t document_number, fragment_number;
};

extern const char *const exi_names[]; /* UTF-8; attributes start with '@' */
extern const uint16_t exi_name_number;
extern const struct exi_schema exi_schemas[];
extern const uint16_t exi_schema_number;

/* Where in an element's content a reader or writer stands. */
struct exi_cursor {
    uint16_t state;
    uint16_t count; /* occurrences of the repeating element, saturating below EXI_UNBOUNDED */
};

/* The productions that apply at a cursor; a production's event code is its index. */
struct exi_choices {
    const struct exi_production *production;
    uint16_t number;
};

enum exi_error {
    EXI_OK,
    EXI_E_TRUNCATED,
    EXI_E_SIZE,
    EXI_E_HEADER,
    EXI_E_ROOT,
    EXI_E_CODE,
    EXI_E_WILDCARD,
    EXI_E_ABSTRACT,
    EXI_E_ITEMS,
    EXI_E_DEPTH,
    EXI_E_ENUMERATION,
    EXI_E_RANGE,
    EXI_E_LENGTH,
    EXI_E_TABLE,
    EXI_E_CHARACTER,
    EXI_E_INTEGER,
    EXI_E_SUPERFLUOUS,
    EXI_E_IN_PLACE,
    EXI_E_EMPTY,
    EXI_E_UNTYPED,
    EXI_E_AFTER_VALUE,
    EXI_E_AFTER_ROOT,
    EXI_E_AFTER_END,
    EXI_E_PADDING,
};

/* A value without its characters or octets: those follow with exi_read_characters or exi_read_octets. */
struct exi_scalar {
    uint64_t number;                /* boolean, index of the enumeration word, integer (two's complement when negative) */
    bool negative;                  /* number is below 0; an unlimited integer is then -(octets) - 1 */
    uint32_t length;                /* characters, octets */
    uint8_t octets[EXI_BIG_OCTETS]; /* unlimited integer, least significant first */
};

struct exi_reader {
    const struct exi_schema *schema;
    const uint8_t *data;
    uint64_t size;     /* bits */
    uint64_t position; /* bits */
    bool strict;       /* refuse what exi_write_... would not have written the same way */
    bool fragment;
    bool untyped; /* the open leaf's value came as text */
    uint8_t depth;
    uint16_t path[EXI_MAX_DEPTH]; /* names of the open elements */
    uint32_t items;
    enum exi_error error;
    uint64_t error_position; /* bits */
    uint64_t error_number;   /* the offending length, code or integer */
    const struct exi_value *error_value;
};

/* Starts reading; NULL on failure, else the root's production. */
const struct exi_production *exi_read_root(struct exi_reader *reader);
/* Enters and leaves an element; the cursor stands at its content when it has a type. */
bool exi_read_enter(struct exi_reader *reader, const struct exi_production *production, struct exi_cursor *cursor);
void exi_read_leave(struct exi_reader *reader);
/* The next production of an element's content; EXI_END ends it. */
const struct exi_production *exi_read_event(struct exi_reader *reader, struct exi_cursor *cursor);
/* The value of an attribute or text; the value of an entered leaf; and after its characters or octets the leaf's end. */
bool exi_read_value(struct exi_reader *reader, const struct exi_value *value, struct exi_scalar *scalar);
bool exi_read_leaf(struct exi_reader *reader, const struct exi_value *value, struct exi_scalar *scalar);
bool exi_read_leaf_end(struct exi_reader *reader);
bool exi_read_characters(struct exi_reader *reader, uint32_t *characters, uint32_t number);
bool exi_read_octets(struct exi_reader *reader, uint8_t *octets, uint32_t number);
/* After the root: the end of the message. */
bool exi_read_end(struct exi_reader *reader);
/* What went wrong, as one line without place; returns the length that snprintf would. */
int exi_read_message(const struct exi_reader *reader, char *line, size_t size);

struct exi_writer {
    const struct exi_schema *schema;
    uint8_t *data;
    size_t capacity; /* octets of data, at least 8 */
    size_t size;     /* octets written */
    uint64_t bits;   /* bits that are not in data yet: the lowest bit_number ones */
    uint32_t bit_number;
    uint32_t items; /* elements, counted by the caller against EXI_MAX_ITEMS */
    bool fragment;
    bool full; /* capacity was too small; nothing else can fail */
};

void exi_write_root(struct exi_writer *writer, uint16_t code);
void exi_write_event(struct exi_writer *writer, struct exi_cursor *cursor, struct exi_choices choices, uint16_t code);
/* Number, length or octets of a value that the caller has checked with exi_fits. */
void exi_write_value(struct exi_writer *writer, const struct exi_value *value, const struct exi_scalar *scalar);
void exi_write_leaf_edge(struct exi_writer *writer); /* before and after the value of a leaf */
void exi_write_character(struct exi_writer *writer, uint32_t character);
void exi_write_octets(struct exi_writer *writer, const uint8_t *octets, size_t number);
/* Ends the message; its size in octets, 0 when it didn't fit. */
size_t exi_write_end(struct exi_writer *writer);

/* Is the number or length allowed by the type? Unlimited integers always are. */
bool exi_fits(const struct exi_value *value, const struct exi_scalar *scalar);

/* The productions that apply at a cursor. */
static inline struct exi_choices exi_choices_at(const struct exi_schema *schema, const struct exi_cursor *cursor) {
    const struct exi_state *state = &schema->states[cursor->state];
    const struct exi_production *first = &schema->productions[state->first];
    if (state->repeats != 0 && cursor->count < state->least)
        return (struct exi_choices){first, state->repeats};
    if (state->repeats != 0 && cursor->count >= state->most)
        return (struct exi_choices){first + state->repeats, (uint16_t)(state->number - state->repeats)};
    return (struct exi_choices){first, state->number};
}

/* Moves a cursor past a production of its state. */
static inline void exi_advance(const struct exi_schema *schema, struct exi_cursor *cursor, const struct exi_production *taken) {
    const struct exi_state *state = &schema->states[cursor->state];
    bool again = taken < &schema->productions[state->first] + state->repeats;
    if (!again)
        cursor->count = 1;
    else if (cursor->count < EXI_UNBOUNDED - 1)
        cursor->count++;
    cursor->state = taken->next;
}

/* Bits that `number` needs. */
static inline uint32_t exi_bit_length(uint32_t number) {
    return number == 0 ? 0 : 32u - (uint32_t)__builtin_clz(number);
}

#endif
