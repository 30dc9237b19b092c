/* CRC-32C (Castagnoli, RFC 3720 appendix B.4): the processor's instruction where it has one, a nibble table elsewhere. */
#include <string.h>

#include "v2g_runtime.h"

#if defined(__x86_64__)
#include <nmmintrin.h>

__attribute__((target("sse4.2"))) static uint32_t crc_hardware(uint32_t crc, const uint8_t *bytes, size_t length) {
    uint64_t wide = crc;
    for (; length >= 8; bytes += 8, length -= 8) {
        uint64_t word;
        memcpy(&word, bytes, sizeof word);
        wide = _mm_crc32_u64(wide, word);
    }
    crc = (uint32_t)wide;
    for (; length > 0; bytes++, length--)
        crc = _mm_crc32_u8(crc, *bytes);
    return crc;
}

static bool has_hardware(void) {
    return __builtin_cpu_supports("sse4.2") != 0;
}
#elif defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>

static uint32_t crc_hardware(uint32_t crc, const uint8_t *bytes, size_t length) {
    for (; length >= 8; bytes += 8, length -= 8) {
        uint64_t word;
        memcpy(&word, bytes, sizeof word);
        crc = __crc32cd(crc, word);
    }
    for (; length > 0; bytes++, length--)
        crc = __crc32cb(crc, *bytes);
    return crc;
}

static bool has_hardware(void) {
    return true;
}
#else
static uint32_t crc_hardware(uint32_t crc, const uint8_t *bytes, size_t length) {
    (void)bytes;
    (void)length;
    return crc;
}

static bool has_hardware(void) {
    return false;
}
#endif

/* Remainders of the 16 nibbles for the reflected polynomial 0x82F63B78. */
static const uint32_t nibble[16] = {
    0x00000000, 0x105EC76F, 0x20BD8EDE, 0x30E349B1, 0x417B1DBC, 0x5125DAD3, 0x61C69362, 0x7198540D,
    0x82F63B78, 0x92A8FC17, 0xA24BB5A6, 0xB21572C9, 0xC38D26C4, 0xD3D3E1AB, 0xE330A81A, 0xF36E6F75,
};

static uint32_t crc_table(uint32_t crc, const uint8_t *bytes, size_t length) {
    for (; length > 0; bytes++, length--) {
        crc ^= *bytes;
        crc = (crc >> 4) ^ nibble[crc & 15U];
        crc = (crc >> 4) ^ nibble[crc & 15U];
    }
    return crc;
}

uint32_t v2g_crc32c(uint32_t crc, const void *bytes, size_t length) {
    return ~(has_hardware() ? crc_hardware(~crc, bytes, length) : crc_table(~crc, bytes, length));
}
