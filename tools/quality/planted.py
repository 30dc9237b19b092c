"""One violation of each MISRA C:2012 rule that the check enables: what isn't found when planted is not claimed."""

PLANTED = {
    "2.3": "typedef int unused_type; int f(void) { return 0; }",
    "2.5": ("#define UNUSED_MACRO 1\nint f(void);\nint f(void) { return 0; }\n"),
    "2.7": "int f(int a, int b); int f(int a, int b) { return a; }",
    "3.1": "/* a /* b */ int f(void) { return 0; }",
    "4.1": 'const char *f(void) { return "\\x41g"; }',
    "5.4": (
        "#define A_VERY_LONG_MACRO_THAT_BEGINS_LIKE_ANOTHER_MACRO_AND_THEN_ENDS_X1 1\n"
        "#define A_VERY_LONG_MACRO_THAT_BEGINS_LIKE_ANOTHER_MACRO_AND_THEN_ENDS_X2 2\n"
        "int f(void);\n"
        "int f(void) { return A_VERY_LONG_MACRO_THAT_BEGINS_LIKE_ANOTHER_MACRO_AND_THEN_ENDS_X1; }\n"
    ),
    "5.5": (
        "#define same 1\n"
        "int f(void);\n"
        "int f(void) { int b = same; return b; }\n"
        "int same_2(void);\n"
        "#undef same\n"
        "int same(void);\n"
        "int same(void) { return 2; }\n"
    ),
    "6.1": "struct s { long long b : 3; }; int f(const struct s *p) { return (int)p->b; }",
    "6.2": "struct s { int b : 1; }; int f(const struct s *p) { return p->b; }",
    "7.1": "int f(void) { return 017; }",
    "7.2": "unsigned f(void) { unsigned u = 0x80000000; return u; }",
    "7.3": "long f(void) { return 1l; }",
    "7.4": 'char *f(void) { char *p = "text"; return p; }',
    "8.2": "int f(); int f() { return 0; }",
    "8.4": "int f(void) { return 0; }",
    "8.10": ("inline int f(void);\ninline int f(void) { return 0; }\n"),
    "8.11": "extern int table[]; int f(void); int f(void) { return table[0]; }",
    "8.12": "enum e { A = 1, B, C = 2 }; int f(void); int f(void) { return (int)A + (int)B + (int)C; }",
    "8.14": "int f(int *restrict p); int f(int *restrict p) { return *p; }",
    "9.5": "int f(void); int f(void) { int a[] = {[0] = 1}; return a[0]; }",
    "10.3": ("#include <stdint.h>\nuint8_t f(uint32_t a);\nuint8_t f(uint32_t a) { uint8_t b = a; return b; }\n"),
    "10.6": (
        "#include <stdint.h>\n"
        "uint32_t f(uint16_t a, uint16_t b);\n"
        "uint32_t f(uint16_t a, uint16_t b) { uint32_t c = a + b; return c; }\n"
    ),
    "10.7": (
        "#include <stdint.h>\n"
        "uint32_t f(uint32_t c, uint16_t a, uint16_t b);\n"
        "uint32_t f(uint32_t c, uint16_t a, uint16_t b) { return c * (a + b); }\n"
    ),
    "11.1": (
        "#include <stdint.h>\n"
        "typedef void (*callback)(void);\n"
        "int32_t *f(callback p);\n"
        "int32_t *f(callback p) { return (int32_t *)p; }\n"
    ),
    "11.2": "struct s; int *f(struct s *p); int *f(struct s *p) { return (int *)p; }",
    "11.3": (
        "#include <stdint.h>\nuint32_t f(uint8_t *p);\nuint32_t f(uint8_t *p) { uint32_t *q = (uint32_t *)p; return *q; }\n"
    ),
    "11.4": ("#include <stdint.h>\nuintptr_t f(int32_t *p);\nuintptr_t f(int32_t *p) { return (uintptr_t)p; }\n"),
    "11.6": ("#include <stdint.h>\nuintptr_t f(void *p);\nuintptr_t f(void *p) { return (uintptr_t)p; }\n"),
    "11.8": "int *f(const int *p); int *f(const int *p) { return (int *)p; }",
    "12.4": "unsigned f(void); unsigned f(void) { return 0u - 1u; }",
    "13.1": "int f(volatile int *v); int f(volatile int *v) { int a[2] = {(*v)++, 1}; return a[0]; }",
    "13.3": "int f(int a); int f(int a) { int b = a; int c = b++ + 2; return c + b; }",
    "13.4": "int f(int a, int b); int f(int a, int b) { int c; int d = a; if ((c = b) != 0) { d = c; } return d; }",
    "13.6": "unsigned long f(int a); unsigned long f(int a) { int b = a; return sizeof(b++); }",
    "14.1": "float f(void); float f(void) { float s = 0.0f; for (float x = 0.0f; x < 1.0f; x += 0.1f) { s += x; } return s; }",
    "14.4": "int f(int a); int f(int a) { int b = 0; if (a - 8) { b = 1; } return b; }",
    "15.1": "int f(int a); int f(int a) { int b = a; goto end; end: return b; }",
    "15.2": "int f(int a); int f(int a) { int b = a; again: b--; if (b > 0) { goto again; } return b; }",
    "15.3": ("int f(int a); int f(int a) { int b = a; if (b > 0) { goto inside; } if (b < 5) {\ninside: b++; } return b; }\n"),
    "15.4": (
        "int f(int a); int f(int a) { int b = 0;\n"
        "for (int i = 0; i < a; i++) { if (i == 3) { break; } if (i == 5) { break; } b++; } return b; }\n"
    ),
    "15.6": "int f(int a); int f(int a) { int b = 0; if (a > 0) b = 1; return b; }",
    "16.1": (
        "int f(int a); int f(int a) { int b = 0;\n"
        "switch (a) { b = 1;\n"
        "case 1: b = 2; break;\n"
        "default: b = 3; break; } return b; }\n"
    ),
    "16.2": (
        "int f(int a); int f(int a) { int b = 0;\n"
        "switch (a) {\n"
        "case 1: {\n"
        "case 2: b = 2; break; } default: b = 3; break; } return b; }\n"
    ),
    "16.3": (
        "int f(int a); int f(int a) { int b = 0;\n"
        "switch (a) {\n"
        "case 1: b = 2;\n"
        "case 2: b = 3; break;\n"
        "default: b = 4; break; } return b; }\n"
    ),
    "16.4": (
        "int f(int a); int f(int a) { int b = 0;\nswitch (a) {\ncase 1: b = 2; break;\ncase 2: b = 3; break; } return b; }\n"
    ),
    "16.5": (
        "int f(int a); int f(int a) { int b = 0;\n"
        "switch (a) {\n"
        "case 1: b = 2; break;\n"
        "default: b = 3; break;\n"
        "case 4: b = 5; break; } return b; }\n"
    ),
    "16.6": "int f(int a); int f(int a) { int b = 0; switch (a) { default: b = 3; break; } return b; }",
    "16.7": (
        "int f(int a); int f(int a) { int b = 0;\n"
        "switch (a > 1) {\n"
        "case 0: b = 2; break;\n"
        "default: b = 3; break; } return b; }\n"
    ),
    "17.1": (
        "#include <stdarg.h>\nint f(int a, ...);\nint f(int a, ...) { va_list l; va_start(l, a); va_end(l); return a; }\n"
    ),
    "17.2": "int f(int a); int f(int a) { int b = 0; if (a > 0) { b = f(a - 1); } return b; }",
    "17.3": "int f(void); int f(void) { return g_unknown(1); }",
    "17.6": "int f(int a[static 2]); int f(int a[static 2]) { return a[0]; }",
    "17.8": "int f(int a); int f(int a) { a = 2; return a; }",
    "18.4": "int f(const int *p, int n); int f(const int *p, int n) { return *(p + n); }",
    "18.5": "int f(int ***p); int f(int ***p) { return ***p; }",
    "18.7": "struct s { int n; int tail[]; }; int f(const struct s *p); int f(const struct s *p) { return p->n; }",
    "18.8": "int f(int n); int f(int n) { int a[n]; a[0] = 1; return a[0]; }",
    "19.2": "union u { int a; float b; }; int f(const union u *p); int f(const union u *p) { return p->a; }",
    "20.1": ("int first;\n#include <stdint.h>\n"),
    "20.2": ('#include "a\'b.h"\nint f(void);\n'),
    "20.4": ("#define if while\nint f(void);\n"),
    "20.5": ("#define ONCE 1\n#undef ONCE\nint f(void);\n"),
    "20.7": ("#define TWICE(x) (2 * x)\nint f(int a);\nint f(int a) { return TWICE(a + 1); }\n"),
    "20.10": ("#define JOIN(a, b) a##b\nint f(void);\nint f(void) { int ab = 1; return JOIN(a, b); }\n"),
    "20.13": ("#nonsense\nint f(void);\n"),
    "21.2": "int malloc(int a); int malloc(int a) { return a; }",
    "21.3": ("#include <stdlib.h>\nvoid *f(void);\nvoid *f(void) { return malloc(4); }\n"),
    "21.6": ('#include <stdio.h>\nvoid f(void);\nvoid f(void) { (void)printf("a"); }\n'),
    "21.7": ("#include <stdlib.h>\nint f(const char *s);\nint f(const char *s) { return atoi(s); }\n"),
    "21.8": ("#include <stdlib.h>\nvoid f(void);\nvoid f(void) { abort(); }\n"),
    "21.9": (
        "#include <stdlib.h>\n"
        "void f(int *p, int (*c)(const void *, const void *));\n"
        "void f(int *p, int (*c)(const void *, const void *)) { qsort(p, 2, sizeof(int), c); }\n"
    ),
    "21.10": ("#include <time.h>\nlong f(void);\nlong f(void) { return (long)time(NULL); }\n"),
    "21.12": ("#include <fenv.h>\nvoid f(void);\nvoid f(void) { (void)feclearexcept(1); }\n"),
    "22.5": ("#include <stdio.h>\nint f(const FILE *p);\nint f(const FILE *p) { FILE q = *p; (void)q; return 0; }\n"),
}
