/* v2g_rtu.h – the data sheet of the Modbus RTU engine: one serial line, several slaves, one thread.
 *
 * Devices, registers, writes, cells and statistics are those of v2g_modbus.h (devices have family 0). Only one request is on
 * the line at a time. A slot schedule is computed when the config is committed, and a line that could not keep it is refused
 * with the figures. Setpoints are written at most as often as their device is polled, stops at once. A slave that is silent
 * costs the others one time-out, then it is left alone for 1 s … 30 s.
 *
 * Protocol: MODBUS over Serial Line Specification and Implementation Guide V1.02 (modbus.org): 11-bit characters, 3.5
 * characters of silence between frames, 1.75 ms above 19200 baud. */
#ifndef V2G_RTU_H
#define V2G_RTU_H

#include "v2g_modbus.h"

enum {
    V2G_RTU_PATH = 108,
    V2G_RTU_FRAME = 256,         /* longest RTU frame */
    V2G_RTU_USE_MAX_PPM = 970000 /* share of the line that polls and writes may need; the rest covers wake-ups */
};

enum v2g_rtu_parity { V2G_RTU_NONE = 0, V2G_RTU_EVEN = 1, V2G_RTU_ODD = 2 };

/* RS-485 direction control by the kernel's driver (TIOCSRS485). */
enum v2g_rtu_rs485 {
    V2G_RTU_RS485_OFF = 0,     /* the adapter switches by itself */
    V2G_RTU_RS485_TRY = 1,     /* used where the driver has it */
    V2G_RTU_RS485_REQUIRED = 2 /* the line stays down without it */
};

struct v2g_rtu_line {
    uint32_t baud;           /* 1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200 or 230400 */
    uint8_t parity;          /* enum v2g_rtu_parity */
    uint8_t stop_bits;       /* 1 or 2 */
    uint8_t rs485;           /* enum v2g_rtu_rs485 */
    uint8_t family;          /* 0: a serial port; 4 or 6: RTU frames over TCP to a serial server on that line */
    char path[V2G_RTU_PATH]; /* of the port; over TCP: its name in messages. Ends with 0 */
    uint16_t port;           /* of the serial server */
    uint16_t reserved;
    uint8_t address[16]; /* of the serial server, network byte order; IPv4 in the first four */
};

/* The line's figures, as `config check` shows them. */
struct v2g_rtu_schedule {
    int64_t char_ns;    /* one character */
    int64_t silence_ns; /* between frames */
    int64_t longest_ns; /* the longest transaction, silences and turnaround included */
    int64_t use_ppm;    /* share of the line that is needed */
    int64_t slack_ns;   /* the least time left before any deadline when everything falls due at once */
};

struct v2g_rtu_engine;

/* 0: every poll ends before the next one of its device is due, even when everything falls due at once. -1: not so; `error`
 * says in one line what needs how long. `schedule` is filled in both cases unless the config itself is wrong. */
int v2g_rtu_check(const struct v2g_modbus_config *config, const struct v2g_rtu_line *line, struct v2g_rtu_schedule *schedule,
                  char *error, size_t error_size);

/* As v2g_modbus_engine_size, _init, _run_once, _start, _stop, _close and _silence. The port is opened by the passes, again and
 * again with a growing pause while it is missing. */
size_t v2g_rtu_engine_size(void);
int v2g_rtu_init(struct v2g_rtu_engine *engine, const struct v2g_modbus_config *config, const struct v2g_rtu_line *line,
                 const struct v2g_modbus_memory *memory, char *error, size_t error_size);
int v2g_rtu_run_once(struct v2g_rtu_engine *engine, int64_t timeout_ns);
int v2g_rtu_start(struct v2g_rtu_engine *engine, const struct v2g_thread *thread);
void v2g_rtu_stop(struct v2g_rtu_engine *engine);
void v2g_rtu_close(struct v2g_rtu_engine *engine);
int v2g_rtu_silence(struct v2g_rtu_engine *engine, uint32_t device, int64_t silence_ns, int64_t look_ns);

/* ---- The pure parts ----------------------------------------------------------------------------------------------------- */

/* CRC of the specification: polynomial 0xA001 (reflected), start 0xFFFF; sent low byte first. */
uint16_t v2g_rtu_crc(const uint8_t *bytes, size_t length);

/* Writes the request as an RTU frame; returns its length, 0 when the request is not one of the known kinds. */
size_t v2g_rtu_build(const struct v2g_modbus_request *request, uint8_t frame[V2G_RTU_FRAME]);

/* Characters of the good answer to `request`. */
uint32_t v2g_rtu_answer_length(const struct v2g_modbus_request *request);

/* Looks at the answer to `request` in bytes[0…length). Verdicts as of v2g_modbus_parse; UNSOLICITED: of another slave. Total. */
void v2g_rtu_parse(const uint8_t *bytes, size_t length, const struct v2g_modbus_request *request,
                   struct v2g_modbus_parsed *parsed);

#ifndef V2G_CDEF
_Static_assert(sizeof(struct v2g_rtu_line) == 136, "no hidden padding");
#endif
#endif
