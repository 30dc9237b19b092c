#include "exi.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Second-level event codes of the first state of an element with a simple type (EXI 8.5.4.4.1): end, xsi:type, xsi:nil, AT(*),
 * untyped attributes, SE(*), untyped text. Only the first and the last are understood. */
enum { SECOND_LEVEL_WIDTH = 3, SECOND_LEVEL_END = 0, SECOND_LEVEL_TEXT = 6, UNTYPED_CHARACTERS = 20 };
/* After untyped text: the escape (1) and the undeclared end (00). */
enum { UNTYPED_END_WIDTH = 3, UNTYPED_END = 4 };
enum { GROUPS_OF_64_BITS = 10 };

static bool fail_at(struct exi_reader *reader, enum exi_error error, uint64_t position, uint64_t number) {
    if (reader->error == EXI_OK) {
        reader->error = error;
        reader->error_position = position;
        reader->error_number = number;
    }
    return false;
}

static bool fail_value(struct exi_reader *reader, enum exi_error error, uint64_t position, uint64_t number,
                       const struct exi_value *value) {
    reader->error_value = value;
    return fail_at(reader, error, position, number);
}

/* The next `width` bits, at most 32. */
static inline bool take(struct exi_reader *reader, uint32_t width, uint32_t *bits) {
    if (width > reader->size - reader->position)
        return fail_at(reader, EXI_E_TRUNCATED, reader->position, 0);
    const uint8_t *octets = reader->data + (reader->position >> 3);
    uint32_t skip = (uint32_t)(reader->position & 7);
    uint64_t window = 0;
    if (reader->size - (reader->position - skip) >= 64) {
        memcpy(&window, octets, sizeof window);
        window = __builtin_bswap64(window);
    } else {
        for (uint32_t i = 0; 8 * i < skip + width; i++)
            window |= (uint64_t)octets[i] << (56 - 8 * i);
    }
    reader->position += width;
    *bits = width == 0 ? 0 : (uint32_t)((window << skip) >> (64 - width));
    return true;
}

/* Seven bits per octet, the lowest first (EXI 7.1.6). */
static bool take_unsigned(struct exi_reader *reader, uint64_t *number) {
    uint64_t start = reader->position, sum = 0;
    for (uint32_t group = 0; group < GROUPS_OF_64_BITS; group++) {
        uint32_t octet;
        if (!take(reader, 8, &octet))
            return false;
        uint64_t part = octet & 0x7F;
        if (group == GROUPS_OF_64_BITS - 1 && part > 1)
            return fail_at(reader, EXI_E_INTEGER, start, 64);
        sum |= part << (7 * group);
        if (octet < 0x80) {
            if (reader->strict && octet == 0 && group > 0)
                return fail_at(reader, EXI_E_SUPERFLUOUS, start, 0);
            *number = sum;
            return true;
        }
    }
    return fail_at(reader, EXI_E_INTEGER, start, 64);
}

static bool take_big(struct exi_reader *reader, struct exi_scalar *scalar) {
    enum { BITS = 8 * EXI_BIG_OCTETS, GROUPS = (BITS + 6) / 7 };
    uint64_t start;
    uint32_t sign;
    if (!take(reader, 1, &sign))
        return false;
    start = reader->position;
    scalar->negative = sign != 0;
    scalar->length = EXI_BIG_OCTETS;
    memset(scalar->octets, 0, sizeof scalar->octets);
    for (uint32_t group = 0; group < GROUPS; group++) {
        uint32_t octet;
        if (!take(reader, 8, &octet))
            return false;
        uint32_t bit = 7 * group, part = (octet & 0x7F) << (bit % 8);
        if (bit + 7 > BITS && (octet & 0x7F) >> (BITS - bit) != 0)
            return fail_at(reader, EXI_E_INTEGER, start, BITS);
        scalar->octets[bit / 8] = (uint8_t)(scalar->octets[bit / 8] | (part & 0xFF));
        if (part >> 8 != 0)
            scalar->octets[bit / 8 + 1] = (uint8_t)(part >> 8);
        if (octet < 0x80)
            return !(reader->strict && octet == 0 && group > 0) || fail_at(reader, EXI_E_SUPERFLUOUS, start, 0);
    }
    return fail_at(reader, EXI_E_INTEGER, start, BITS);
}

/* A length with its facets, and never more than what the message still holds, so a caller may allocate it. */
static bool check_length(struct exi_reader *reader, const struct exi_value *value, uint64_t start, uint64_t length) {
    if (length < (uint64_t)value->least || length > value->most)
        return fail_value(reader, EXI_E_LENGTH, start, length, value);
    if (length > (reader->size - reader->position) / 8)
        return fail_at(reader, EXI_E_TRUNCATED, start, length);
    return true;
}

static bool take_string_length(struct exi_reader *reader, const struct exi_value *value, uint32_t *length) {
    uint64_t start = reader->position, number;
    if (!take_unsigned(reader, &number))
        return false;
    if (number < 2)
        return fail_at(reader, EXI_E_TABLE, start, number);
    if (!check_length(reader, value, start, number - 2))
        return false;
    *length = (uint32_t)(number - 2);
    return true;
}

bool exi_fits(const struct exi_value *value, const struct exi_scalar *scalar) {
    switch (value->coding) {
    case EXI_NBIT:
    case EXI_UNSIGNED:
    case EXI_SIGNED:
        if (scalar->negative)
            return (int64_t)scalar->number >= value->least;
        return scalar->number <= value->most && (value->least <= 0 || scalar->number >= (uint64_t)value->least);
    case EXI_STRING:
    case EXI_BINARY:
        return scalar->length >= (uint64_t)value->least && scalar->length <= value->most;
    default:
        return true;
    }
}

static bool take_integer(struct exi_reader *reader, const struct exi_value *value, struct exi_scalar *scalar) {
    uint64_t start = reader->position;
    uint32_t bits = 0;
    scalar->negative = false;
    if (value->coding == EXI_NBIT) {
        if (!take(reader, value->width, &bits))
            return false;
        int64_t number = value->least + (int64_t)bits;
        scalar->negative = number < 0;
        scalar->number = (uint64_t)number;
    } else {
        if (value->coding == EXI_SIGNED && !take(reader, 1, &bits))
            return false;
        if (!take_unsigned(reader, &scalar->number))
            return false;
        if (bits != 0) {
            if (scalar->number > INT64_MAX)
                return fail_at(reader, EXI_E_INTEGER, start, 64);
            scalar->number = ~scalar->number; /* -(number) - 1 in two's complement */
            scalar->negative = true;
        }
    }
    return exi_fits(value, scalar) || fail_value(reader, EXI_E_RANGE, start, scalar->number, value);
}

bool exi_read_value(struct exi_reader *reader, const struct exi_value *value, struct exi_scalar *scalar) {
    uint64_t start = reader->position, length;
    uint32_t bits;
    switch (value->coding) {
    case EXI_BOOLEAN:
        if (!take(reader, 1, &bits))
            return false;
        scalar->number = bits;
        return true;
    case EXI_ENUMERATION:
        if (!take(reader, value->width, &bits))
            return false;
        if (bits >= value->number)
            return fail_value(reader, EXI_E_ENUMERATION, start, bits, value);
        scalar->number = bits;
        return true;
    case EXI_BIG:
        return take_big(reader, scalar);
    case EXI_STRING:
        return take_string_length(reader, value, &scalar->length);
    case EXI_BINARY:
        if (!take_unsigned(reader, &length) || !check_length(reader, value, start, length))
            return false;
        scalar->length = (uint32_t)length;
        return true;
    default:
        return take_integer(reader, value, scalar);
    }
}

/* An integer or boolean that arrived as text; outside of its type's range it is handed over as it is. */
static bool parse_untyped(const struct exi_value *value, const uint32_t *text, uint32_t length, struct exi_scalar *scalar) {
    uint64_t sum = 0;
    uint32_t i = length > 0 && text[0] == '-' ? 1 : 0;
    if (i == length)
        return false;
    scalar->negative = i == 1;
    for (; i < length; i++) {
        uint32_t digit = text[i] - '0';
        if (digit > 9 || sum > ((uint64_t)INT64_MAX - digit) / 10)
            return false;
        sum = 10 * sum + digit;
    }
    if (value->coding == EXI_BOOLEAN) {
        scalar->number = sum;
        return length == 1 && sum <= 1;
    }
    scalar->negative = scalar->negative && sum != 0;
    scalar->number = scalar->negative ? ~sum + 1 : sum;
    if (value->coding == EXI_BIG) {
        uint64_t magnitude = scalar->negative ? sum - 1 : sum;
        memset(scalar->octets, 0, sizeof scalar->octets);
        memcpy(scalar->octets, &magnitude, sizeof magnitude);
        scalar->length = EXI_BIG_OCTETS;
    }
    return true;
}

static bool same_text(const char *word, const uint32_t *text, uint32_t length) {
    if (strlen(word) != length)
        return false;
    for (uint32_t i = 0; i < length; i++)
        if (text[i] != (uint8_t)word[i])
            return false;
    return true;
}

static bool read_untyped(struct exi_reader *reader, const struct exi_value *value, struct exi_scalar *scalar, uint64_t start) {
    static const struct exi_value short_text = {.least = 0, .most = UNTYPED_CHARACTERS, .coding = EXI_STRING};
    uint32_t text[UNTYPED_CHARACTERS];
    reader->untyped = true;
    if (value->coding == EXI_STRING)
        return take_string_length(reader, value, &scalar->length);
    if (!take_string_length(reader, &short_text, &scalar->length) || !exi_read_characters(reader, text, scalar->length))
        return false;
    if (value->coding == EXI_BOOLEAN && (same_text("true", text, scalar->length) || same_text("false", text, scalar->length))) {
        scalar->number = text[0] == 't';
        return true;
    }
    if (value->coding != EXI_ENUMERATION && value->coding != EXI_BINARY && parse_untyped(value, text, scalar->length, scalar))
        return true;
    return fail_at(reader, EXI_E_UNTYPED, start, 0);
}

bool exi_read_leaf(struct exi_reader *reader, const struct exi_value *value, struct exi_scalar *scalar) {
    uint64_t start = reader->position;
    uint32_t bits;
    reader->untyped = false;
    if (!take(reader, 1, &bits))
        return false;
    if (bits == 0)
        return exi_read_value(reader, value, scalar);
    if (!take(reader, SECOND_LEVEL_WIDTH, &bits))
        return false;
    if (reader->strict || (bits != SECOND_LEVEL_END && bits != SECOND_LEVEL_TEXT))
        return fail_at(reader, EXI_E_IN_PLACE, start, bits);
    if (bits == SECOND_LEVEL_TEXT)
        return read_untyped(reader, value, scalar, start);
    if ((value->coding != EXI_STRING && value->coding != EXI_BINARY) || value->least > 0)
        return fail_at(reader, EXI_E_EMPTY, start, 0);
    scalar->length = 0;
    reader->position--; /* the code's last bit is 0 and stands for the end that exi_read_leaf_end expects */
    return true;
}

bool exi_read_leaf_end(struct exi_reader *reader) {
    uint64_t start = reader->position;
    uint32_t bits;
    if (!take(reader, reader->untyped ? UNTYPED_END_WIDTH : 1, &bits))
        return false;
    return bits == (reader->untyped ? UNTYPED_END : 0) || fail_at(reader, EXI_E_AFTER_VALUE, start, bits);
}

bool exi_read_characters(struct exi_reader *reader, uint32_t *characters, uint32_t number) {
    for (uint32_t i = 0; i < number; i++) {
        uint64_t start = reader->position, point;
        if (!take_unsigned(reader, &point))
            return false;
        if (point > 0x10FFFF || (point >= 0xD800 && point <= 0xDFFF))
            return fail_at(reader, EXI_E_CHARACTER, start, point);
        characters[i] = (uint32_t)point;
    }
    return true;
}

bool exi_read_octets(struct exi_reader *reader, uint8_t *octets, uint32_t number) {
    for (uint32_t i = 0; i < number; i++) {
        uint32_t octet;
        if (!take(reader, 8, &octet))
            return false;
        octets[i] = (uint8_t)octet;
    }
    return true;
}

static uint32_t root_width(const struct exi_schema *schema, bool fragment) {
    return exi_bit_length(fragment ? schema->fragment_number + 1u : schema->document_number);
}

const struct exi_production *exi_read_root(struct exi_reader *reader) {
    uint32_t bits;
    if (reader->size > 8 * (uint64_t)EXI_MAX_BYTES) {
        fail_at(reader, EXI_E_SIZE, 0, 0);
        return NULL;
    }
    if (!take(reader, 8, &bits))
        return NULL;
    if (bits != EXI_HEADER) {
        fail_at(reader, EXI_E_HEADER, 0, bits);
        return NULL;
    }
    const struct exi_schema *schema = reader->schema;
    if (!take(reader, root_width(schema, reader->fragment), &bits))
        return NULL;
    if (bits >= (reader->fragment ? schema->fragment_number : schema->document_number)) {
        fail_at(reader, EXI_E_ROOT, 8, bits);
        return NULL;
    }
    return &(reader->fragment ? schema->fragments : schema->documents)[bits];
}

bool exi_read_enter(struct exi_reader *reader, const struct exi_production *production, struct exi_cursor *cursor) {
    if (reader->depth >= EXI_MAX_DEPTH)
        return fail_at(reader, EXI_E_DEPTH, reader->position, 0);
    reader->path[reader->depth++] = production->name;
    if (production->kind == EXI_ATTRIBUTE)
        return true;
    if (production->flags & EXI_ABSTRACT)
        return fail_at(reader, EXI_E_ABSTRACT, reader->position, 0);
    if (++reader->items > EXI_MAX_ITEMS)
        return fail_at(reader, EXI_E_ITEMS, reader->position, 0);
    if (production->kind == EXI_ELEMENT)
        *cursor = (struct exi_cursor){reader->schema->types[production->target].start, 0};
    return true;
}

void exi_read_leave(struct exi_reader *reader) {
    reader->depth--;
}

const struct exi_production *exi_read_event(struct exi_reader *reader, struct exi_cursor *cursor) {
    uint64_t start = reader->position;
    struct exi_choices choices = exi_choices_at(reader->schema, cursor);
    uint32_t code;
    if (!take(reader, exi_bit_length(choices.number), &code))
        return NULL;
    if (code >= choices.number) {
        fail_at(reader, EXI_E_CODE, start, code);
        return NULL;
    }
    const struct exi_production *production = &choices.production[code];
    if (production->kind == EXI_WILDCARD || production->kind == EXI_MIXED) {
        fail_at(reader, EXI_E_WILDCARD, start, code);
        return NULL;
    }
    if (production->kind != EXI_END)
        exi_advance(reader->schema, cursor, production);
    return production;
}

bool exi_read_end(struct exi_reader *reader) {
    uint64_t start = reader->position;
    uint32_t bits;
    if (reader->fragment) {
        if (!take(reader, root_width(reader->schema, true), &bits))
            return false;
        if (bits != reader->schema->fragment_number + 1u)
            return fail_at(reader, EXI_E_AFTER_ROOT, start, bits);
    }
    uint64_t left = reader->size - reader->position;
    if (left >= 8)
        return fail_at(reader, EXI_E_AFTER_END, reader->position, left / 8);
    if (!take(reader, (uint32_t)left, &bits))
        return false;
    return bits == 0 || !reader->strict || fail_at(reader, EXI_E_PADDING, reader->position, 0);
}

static int range_message(const struct exi_reader *reader, char *line, size_t size) {
    const struct exi_value *value = reader->error_value;
    if (reader->error == EXI_E_ENUMERATION)
        return snprintf(line, size, "enumeration value %" PRIu64 " of %u", reader->error_number, value->number);
    if (reader->error == EXI_E_RANGE && value->least < 0)
        return snprintf(line, size, "%" PRId64 " is outside %" PRId64 "..%" PRIu64, (int64_t)reader->error_number, value->least,
                        value->most);
    if (reader->error == EXI_E_RANGE)
        return snprintf(line, size, "%" PRIu64 " is outside %" PRId64 "..%" PRIu64, reader->error_number, value->least,
                        value->most);
    const char *unit = value->coding == EXI_BINARY ? "octets" : "characters";
    if (value->most == UINT64_MAX)
        return snprintf(line, size, "has %" PRIu64 " %s, allowed are at least %" PRId64, reader->error_number, unit,
                        value->least);
    return snprintf(line, size, "has %" PRIu64 " %s, allowed are %" PRId64 "..%" PRIu64, reader->error_number, unit,
                    value->least, value->most);
}

int exi_read_message(const struct exi_reader *reader, char *line, size_t size) {
    uint64_t number = reader->error_number;
    switch (reader->error) {
    case EXI_OK:
        break;
    case EXI_E_TRUNCATED:
        return snprintf(line, size, "the message ends here");
    case EXI_E_SIZE:
        return snprintf(line, size, "the message is longer than %u octets", EXI_MAX_BYTES);
    case EXI_E_HEADER:
        return snprintf(line, size, "no EXI header 0x80");
    case EXI_E_ROOT:
        return snprintf(line, size, "unknown root element (event code %" PRIu64 ")", number);
    case EXI_E_CODE:
        return snprintf(line, size, "an undeclared item");
    case EXI_E_WILDCARD:
        return snprintf(line, size, "content of unknown meaning (wildcard)");
    case EXI_E_ABSTRACT:
        return snprintf(line, size, "is abstract");
    case EXI_E_ITEMS:
        return snprintf(line, size, "more than %u elements", EXI_MAX_ITEMS);
    case EXI_E_DEPTH:
        return snprintf(line, size, "more than %u elements inside one another", EXI_MAX_DEPTH);
    case EXI_E_ENUMERATION:
    case EXI_E_RANGE:
    case EXI_E_LENGTH:
        return range_message(reader, line, size);
    case EXI_E_TABLE:
        return snprintf(line, size, "refers to a string table, which has no entries");
    case EXI_E_CHARACTER:
        return snprintf(line, size, "0x%" PRIx64 " is no character", number);
    case EXI_E_INTEGER:
        return snprintf(line, size, "an integer of more than %" PRIu64 " bits", number);
    case EXI_E_SUPERFLUOUS:
        return snprintf(line, size, "an integer with superfluous octets");
    case EXI_E_IN_PLACE:
        return snprintf(line, size, "an undeclared item in place of the value");
    case EXI_E_EMPTY:
        return snprintf(line, size, "is empty");
    case EXI_E_UNTYPED:
        return snprintf(line, size, "text in place of the value");
    case EXI_E_AFTER_VALUE:
        return snprintf(line, size, "the element goes on after its value");
    case EXI_E_AFTER_ROOT:
        return snprintf(line, size, "a fragment must end after its one element");
    case EXI_E_AFTER_END:
        return snprintf(line, size, "%" PRIu64 " octets after the end", number);
    case EXI_E_PADDING:
        return snprintf(line, size, "the padding is not zero");
    }
    return snprintf(line, size, "no error");
}
