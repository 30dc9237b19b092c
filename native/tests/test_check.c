/* The harness itself: a check that holds lets the case go on; one that fails ends the program with code 1. */
#include "check.h"

#include <sys/wait.h>
#include <unistd.h>

/* Exit code of a child that runs `body` with its output thrown away. */
static int exit_code_of(void (*body)(void)) {
    fflush(stdout);
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK(freopen("/dev/null", "w", stdout) != NULL);
        body();
        exit(0);
    }
    int status = 0;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void all_hold(void) {
    CHECK(2 > 1);
    CHECK_EQ(-5, -5);
    CHECK_MEM_EQ("abc", "abc", 3);
}
static void a_condition_is_false(void) {
    CHECK(1 > 2);
}
static void numbers_differ(void) {
    CHECK_EQ(4200, -4200);
}
static void bytes_differ(void) {
    CHECK_MEM_EQ("abc", "abd", 3);
}

static void checks_that_hold_let_the_case_go_on(void) {
    CHECK_EQ(exit_code_of(all_hold), 0);
}
static void a_false_condition_ends_the_program(void) {
    CHECK_EQ(exit_code_of(a_condition_is_false), 1);
}
static void different_numbers_end_the_program(void) {
    CHECK_EQ(exit_code_of(numbers_differ), 1);
}
static void different_bytes_end_the_program(void) {
    CHECK_EQ(exit_code_of(bytes_differ), 1);
}

CHECK_MAIN(CASE(checks_that_hold_let_the_case_go_on), CASE(a_false_condition_ends_the_program),
           CASE(different_numbers_end_the_program), CASE(different_bytes_end_the_program))
