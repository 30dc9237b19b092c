/* libFuzzer target: any bytes as any message. Whatever decodes strictly must be written again bit for bit.
 * The first octet chooses the schema set (low bits), document or fragment (0x40), strict or lenient (0x80). */
#include "exi.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_CHARACTERS = 1 << 16 };

struct copy {
    struct exi_reader reader;
    struct exi_writer writer;
    uint32_t *characters;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool copy_text(struct copy *c, const struct exi_value *value, struct exi_scalar *scalar) {
    if (scalar->length > MAX_CHARACTERS)
        return false;
    if (value->coding == EXI_STRING) {
        if (!exi_read_characters(&c->reader, c->characters, scalar->length))
            return false;
        for (uint32_t i = 0; i < scalar->length; i++)
            exi_write_character(&c->writer, c->characters[i]);
    } else {
        uint8_t *octets = (uint8_t *)c->characters;
        if (!exi_read_octets(&c->reader, octets, scalar->length))
            return false;
        exi_write_octets(&c->writer, octets, scalar->length);
    }
    return true;
}

static bool copy_value(struct copy *c, const struct exi_value *value, bool leaf) {
    struct exi_scalar scalar = {.length = 0};
    if (!(leaf ? exi_read_leaf : exi_read_value)(&c->reader, value, &scalar))
        return false;
    if (!c->reader.untyped && !exi_fits(value, &scalar))
        abort(); /* the reader let a value pass that its type forbids */
    exi_write_value(&c->writer, value, &scalar);
    return (value->coding != EXI_STRING && value->coding != EXI_BINARY) || copy_text(c, value, &scalar);
}

static bool copy_item(struct copy *c, const struct exi_production *production) {
    const struct exi_schema *schema = c->reader.schema;
    if (production->kind == EXI_TEXT)
        return copy_value(c, &schema->values[production->target], false);
    struct exi_cursor from, to;
    if (!exi_read_enter(&c->reader, production, &from))
        return false;
    if (production->kind == EXI_ATTRIBUTE) {
        if (!copy_value(c, &schema->values[production->target], false))
            return false;
    } else if (production->kind == EXI_LEAF) {
        exi_write_leaf_edge(&c->writer);
        if (!copy_value(c, &schema->values[production->target], true) || !exi_read_leaf_end(&c->reader))
            return false;
        exi_write_leaf_edge(&c->writer);
    } else {
        to = from;
        for (;;) {
            struct exi_choices choices = exi_choices_at(schema, &to);
            const struct exi_production *next = exi_read_event(&c->reader, &from);
            if (next == NULL)
                return false;
            exi_write_event(&c->writer, &to, choices, (uint16_t)(next - choices.production));
            if (next->kind == EXI_END)
                break;
            if (!copy_item(c, next))
                return false;
        }
    }
    exi_read_leave(&c->reader);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static uint32_t characters[MAX_CHARACTERS];
    static uint8_t written[1 << 17];
    char line[256];
    if (size < 1 || size > sizeof written / 2)
        return 0;
    const struct exi_schema *schema = &exi_schemas[(data[0] & 0x3F) % exi_schema_number];
    bool fragment = data[0] & 0x40, strict = data[0] & 0x80;
    struct copy c = {
        .reader = {.schema = schema, .data = data + 1, .size = 8 * (size - 1), .strict = strict, .fragment = fragment},
        .writer = {.schema = schema, .data = written, .capacity = sizeof written, .fragment = fragment},
        .characters = characters,
    };
    const struct exi_production *root = exi_read_root(&c.reader);
    bool whole = false;
    if (root != NULL) {
        const struct exi_production *roots = fragment ? schema->fragments : schema->documents;
        exi_write_root(&c.writer, (uint16_t)(root - roots));
        whole = copy_item(&c, root) && exi_read_end(&c.reader);
    }
    if (!whole && exi_read_message(&c.reader, line, sizeof line) >= (int)sizeof line)
        abort(); /* a reason that doesn't fit its line */
    if (whole && strict && (exi_write_end(&c.writer) != size - 1 || memcmp(written, data + 1, size - 1) != 0))
        abort(); /* it decoded, but is not what would have been encoded */
    return 0;
}
