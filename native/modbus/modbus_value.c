/* Register contents to core units and back. Pure and total: any bytes, any value. */
#include <string.h>

#include "modbus.h"

/* Values beyond this are no measurement; below it every double is an exact integer. */
static const int64_t VALUE_MAX = INT64_C(1) << 53;

static const uint8_t WORDS[V2G_MODBUS_TYPES] = {
    [V2G_MODBUS_U16] = 1, [V2G_MODBUS_I16] = 1, [V2G_MODBUS_U32] = 2, [V2G_MODBUS_I32] = 2, [V2G_MODBUS_U64] = 4,
    [V2G_MODBUS_I64] = 4, [V2G_MODBUS_F32] = 2, [V2G_MODBUS_F64] = 4, [V2G_MODBUS_BIT] = 1,
};

uint32_t v2g_modbus_words(uint32_t type) {
    return type < V2G_MODBUS_TYPES ? WORDS[type] : 1U;
}

static uint64_t gather(const uint8_t *bytes, uint32_t words, uint32_t order) {
    uint64_t raw = 0;
    for (uint32_t i = 0; i < words; i++) {
        const uint32_t at = order == V2G_MODBUS_LITTLE ? words - 1U - i : i;
        raw = (raw << 16) | (uint64_t)mb_get16(bytes + 2U * at);
    }
    return raw;
}

/* raw * multiplier / divisor to the nearest, halves away from 0. False: out of the core's range. */
static bool scale_integer(int64_t raw, int32_t multiplier, int32_t divisor, int64_t *value) {
    const int64_t size = multiplier < 0 ? -(int64_t)multiplier : multiplier;
    const int64_t most = VALUE_MAX / size;
    if (raw > most || raw < -most) {
        return false;
    }
    const int64_t product = raw * multiplier;
    const int64_t half = divisor / 2;
    *value = (product < 0 ? product - half : product + half) / divisor;
    return true;
}

static bool scale_float(double raw, int32_t multiplier, int32_t divisor, int64_t *value) {
    const double scaled = raw * multiplier / divisor;
    const double most = (double)VALUE_MAX;
    if (!(scaled > -most && scaled < most)) { /* NaN fails too */
        return false;
    }
    *value = (int64_t)(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
    return true;
}

static bool decode_number(const struct v2g_modbus_register *reg, uint64_t raw, int64_t *value) {
    float f32;
    double f64;
    const uint32_t low = (uint32_t)raw;
    switch (reg->type) {
    case V2G_MODBUS_F32:
        memcpy(&f32, &low, sizeof f32);
        return scale_float((double)f32, reg->multiplier, reg->divisor, value);
    case V2G_MODBUS_F64:
        memcpy(&f64, &raw, sizeof f64);
        return scale_float(f64, reg->multiplier, reg->divisor, value);
    case V2G_MODBUS_BIT:
        return scale_integer((int64_t)((raw >> (reg->bit & 15U)) & 1U), reg->multiplier, reg->divisor, value);
    case V2G_MODBUS_I16:
        return scale_integer((int16_t)(uint16_t)raw, reg->multiplier, reg->divisor, value);
    case V2G_MODBUS_I32:
        return scale_integer((int32_t)low, reg->multiplier, reg->divisor, value);
    case V2G_MODBUS_I64:
        return scale_integer((int64_t)raw, reg->multiplier, reg->divisor, value);
    default:
        return raw <= (uint64_t)INT64_MAX && scale_integer((int64_t)raw, reg->multiplier, reg->divisor, value);
    }
}

int v2g_modbus_decode(const struct v2g_modbus_register *reg, const uint8_t *bytes, int64_t *value) {
    if (reg->multiplier == 0 || reg->divisor <= 0) {
        return 0;
    }
    const bool coil = reg->table == V2G_MODBUS_COIL || reg->table == V2G_MODBUS_DISCRETE;
    const uint64_t raw =
        coil ? (uint64_t)(bytes[0] & 1U) << (reg->bit & 15U) : gather(bytes, v2g_modbus_words(reg->type), reg->order);
    if ((reg->flags & V2G_MODBUS_HAS_INVALID) != 0U && raw == reg->invalid) {
        return 0;
    }
    int64_t decoded = 0;
    if (!decode_number(reg, raw, &decoded)) {
        return 0;
    }
    if ((reg->flags & V2G_MODBUS_HAS_RANGE) != 0U && (decoded < reg->minimum || decoded > reg->maximum)) {
        return 0;
    }
    *value = decoded;
    return 1;
}

/* The raw number of a setpoint, towards 0. False: it does not fit the register. */
static bool unscale(const struct v2g_modbus_write *write, int64_t value, int64_t *number) {
    const int64_t most = VALUE_MAX / write->divisor;
    if (value > most || value < -most) {
        return false;
    }
    *number = value * write->divisor / write->multiplier;
    return true;
}

static bool fits(uint32_t type, uint32_t coils, int64_t number) {
    switch (type) {
    case V2G_MODBUS_BIT:
        return number == 0 || number == 1;
    case V2G_MODBUS_U16:
        return number >= 0 && number <= (coils == 0U ? UINT16_MAX : (1 << coils) - 1);
    case V2G_MODBUS_I16:
        return number >= INT16_MIN && number <= INT16_MAX;
    case V2G_MODBUS_U32:
        return number >= 0 && number <= (int64_t)UINT32_MAX;
    case V2G_MODBUS_I32:
        return number >= INT32_MIN && number <= INT32_MAX;
    case V2G_MODBUS_U64:
        return number >= 0;
    case V2G_MODBUS_I64:
        return true;
    case V2G_MODBUS_F32:
        return number >= -VALUE_MAX && number <= VALUE_MAX;
    default:
        return false;
    }
}

/* The float nearest to value * divisor / multiplier whose magnitude is not larger. */
static uint32_t float_towards_zero(const struct v2g_modbus_write *write, int64_t value) {
    if (value == 0) {
        return 0; /* never -0.0 */
    }
    const double exact = (double)value * write->divisor / write->multiplier;
    const float nearest = (float)exact;
    uint32_t bits;
    memcpy(&bits, &nearest, sizeof bits);
    const bool larger = exact < 0 ? (double)nearest < exact : (double)nearest > exact;
    return larger ? bits - 1U : bits; /* the next bit pattern below is the next magnitude below */
}

static bool forbidden(const struct v2g_modbus_write *write, uint64_t raw) {
    for (uint32_t i = 0; i < write->never_count && i < V2G_MODBUS_NEVER; i++) {
        if (write->never[i] == raw) {
            return true;
        }
    }
    return false;
}

uint32_t v2g_modbus_encode(const struct v2g_modbus_write *write, int64_t value, uint16_t words[V2G_MODBUS_WRITE_WORDS]) {
    int64_t number = 0;
    if (write->multiplier == 0 || write->divisor <= 0 || value < write->minimum || value > write->maximum ||
        !unscale(write, value, &number) || !fits(write->type, write->function == 15U ? write->coils & 15U : 0U, number)) {
        return 0;
    }
    const uint32_t count = v2g_modbus_words(write->type);
    const uint64_t mask = count == 4U ? UINT64_MAX : (UINT64_C(1) << (16U * count)) - 1U;
    const uint64_t raw = write->type == V2G_MODBUS_F32 ? float_towards_zero(write, value) : (uint64_t)number & mask;
    if (forbidden(write, raw)) {
        return 0;
    }
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t at = write->order == V2G_MODBUS_LITTLE ? i : count - 1U - i;
        words[at] = (uint16_t)(raw >> (16U * i));
    }
    return count;
}
