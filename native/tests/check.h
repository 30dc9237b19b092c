/* The whole test harness of the C part: named cases, three checks, TAP on stdout (meson counts each case in its junit file).
 *
 *   static void a_wrong_crc_is_refused(void) { CHECK(!frame_valid(&frame)); CHECK_EQ(state.errors, 1); }
 *   CHECK_MAIN(CASE(a_wrong_crc_is_refused), CASE(...))
 *
 * A failed check prints file, line and both values and ends the program: the first failure is the one to read, and it
 * works the same from a helper function or another thread.
 */
#ifndef V2G_CHECK_H
#define V2G_CHECK_H

#include <inttypes.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct check_case {
    const char *name;
    void (*run)(void);
};

__attribute__((format(printf, 3, 4), noreturn, unused)) static void check_fail(const char *file, int line, const char *format,
                                                                               ...) {
    va_list args;
    va_start(args, format);
    printf("not ok - %s:%d: ", file, line);
    vprintf(format, args);
    printf("\n");
    va_end(args);
    fflush(stdout);
    exit(1);
}

/* Compares as int64: every quantity of the core fits; a uint64 above INT64_MAX doesn't belong here. */
__attribute__((unused)) static void check_eq(const char *file, int line, const char *text, int64_t got, int64_t wanted) {
    if (got != wanted)
        check_fail(file, line, "%s is %" PRId64 ", wanted %" PRId64, text, got, wanted);
}

__attribute__((unused)) static void check_mem_eq(const char *file, int line, const char *text, const void *got,
                                                 const void *wanted, size_t size) {
    for (size_t i = 0; i < size; i++) {
        const uint8_t g = ((const uint8_t *)got)[i], w = ((const uint8_t *)wanted)[i];
        if (g != w)
            check_fail(file, line, "%s: byte %zu is 0x%02x, wanted 0x%02x", text, i, g, w);
    }
}

static int check_run(const struct check_case *cases, size_t n) {
    printf("TAP version 13\n1..%zu\n", n);
    for (size_t i = 0; i < n; i++) {
        printf("# %s\n", cases[i].name);
        cases[i].run();
        printf("ok %zu - %s\n", i + 1, cases[i].name);
        fflush(stdout);
    }
    return 0;
}

#define CHECK(condition)                ((condition) ? (void)0 : check_fail(__FILE__, __LINE__, "%s is false", #condition))
#define CHECK_EQ(got, wanted)           check_eq(__FILE__, __LINE__, #got, (int64_t)(got), (int64_t)(wanted))
#define CHECK_MEM_EQ(got, wanted, size) check_mem_eq(__FILE__, __LINE__, #got, (got), (wanted), (size))
#define CASE(function)                  {#function, function}
#define CHECK_MAIN(...)                                                                                                        \
    int main(void) {                                                                                                           \
        static const struct check_case cases[] = {__VA_ARGS__};                                                                \
        return check_run(cases, sizeof cases / sizeof cases[0]);                                                               \
    }

#endif
