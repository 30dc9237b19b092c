#include "exi.h"

#include <string.h>

/* Moves the whole octets of the bit store into the buffer. */
static void drain(struct exi_writer *writer) {
    size_t octets = writer->bit_number / 8;
    if (writer->capacity - writer->size < octets) {
        writer->full = true;
        writer->size = 0; /* whatever follows only has to stay inside the buffer */
    }
    for (size_t i = 0; i < octets; i++) {
        writer->bit_number -= 8;
        writer->data[writer->size++] = (uint8_t)(writer->bits >> writer->bit_number);
    }
}

/* Appends `width` bits, at most 32. */
static inline void put(struct exi_writer *writer, uint32_t bits, uint32_t width) {
    if (writer->bit_number + width > 64)
        drain(writer);
    writer->bits = writer->bits << width | bits;
    writer->bit_number += width;
}

static void put_unsigned(struct exi_writer *writer, uint64_t number) {
    while (number >= 0x80) {
        put(writer, (uint32_t)(number & 0x7F) | 0x80, 8);
        number >>= 7;
    }
    put(writer, (uint32_t)number, 8);
}

/* The unlimited integer: seven bits at a time out of octets, least significant first. */
static void put_big(struct exi_writer *writer, const struct exi_scalar *scalar) {
    enum { BITS = 8 * EXI_BIG_OCTETS };
    uint32_t top = EXI_BIG_OCTETS;
    while (top > 0 && scalar->octets[top - 1] == 0)
        top--;
    uint32_t used = top == 0 ? 0 : 8 * (top - 1) + exi_bit_length(scalar->octets[top - 1]);
    put(writer, scalar->negative, 1);
    uint32_t bit = 0;
    do {
        uint32_t window = 0;
        if (bit < BITS)
            window = scalar->octets[bit / 8];
        if (bit / 8 + 1 < EXI_BIG_OCTETS)
            window |= (uint32_t)scalar->octets[bit / 8 + 1] << 8;
        uint32_t group = window >> (bit % 8) & 0x7F;
        bit += 7;
        put(writer, bit < used ? group | 0x80 : group, 8);
    } while (bit < used);
}

void exi_write_root(struct exi_writer *writer, uint16_t code) {
    const struct exi_schema *schema = writer->schema;
    put(writer, EXI_HEADER, 8);
    put(writer, code, exi_bit_length(writer->fragment ? schema->fragment_number + 1u : schema->document_number));
}

void exi_write_event(struct exi_writer *writer, struct exi_cursor *cursor, struct exi_choices choices, uint16_t code) {
    put(writer, code, exi_bit_length(choices.number));
    if (choices.production[code].kind != EXI_END)
        exi_advance(writer->schema, cursor, &choices.production[code]);
}

void exi_write_value(struct exi_writer *writer, const struct exi_value *value, const struct exi_scalar *scalar) {
    switch (value->coding) {
    case EXI_BOOLEAN:
        put(writer, scalar->number != 0, 1);
        break;
    case EXI_ENUMERATION:
        put(writer, (uint32_t)scalar->number, value->width);
        break;
    case EXI_NBIT:
        put(writer, (uint32_t)(scalar->number - (uint64_t)value->least), value->width);
        break;
    case EXI_UNSIGNED:
        put_unsigned(writer, scalar->number);
        break;
    case EXI_SIGNED:
        put(writer, scalar->negative, 1);
        put_unsigned(writer, scalar->negative ? ~scalar->number : scalar->number);
        break;
    case EXI_BIG:
        put_big(writer, scalar);
        break;
    case EXI_STRING:
        put_unsigned(writer, (uint64_t)scalar->length + 2);
        break;
    default:
        put_unsigned(writer, scalar->length);
    }
}

void exi_write_leaf_edge(struct exi_writer *writer) {
    put(writer, 0, 1);
}

void exi_write_character(struct exi_writer *writer, uint32_t character) {
    put_unsigned(writer, character);
}

void exi_write_octets(struct exi_writer *writer, const uint8_t *octets, size_t number) {
    for (size_t i = 0; i < number; i++)
        put(writer, octets[i], 8);
}

size_t exi_write_end(struct exi_writer *writer) {
    const struct exi_schema *schema = writer->schema;
    if (writer->fragment)
        put(writer, schema->fragment_number + 1u, exi_bit_length(schema->fragment_number + 1u));
    put(writer, 0, (8 - writer->bit_number % 8) % 8);
    drain(writer);
    return writer->full ? 0 : writer->size;
}
