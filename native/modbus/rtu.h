/* Inside of the Modbus RTU engine. */
#ifndef V2G_RTU_INTERNAL_H
#define V2G_RTU_INTERNAL_H

#include <sys/types.h>

#include "modbus.h"
#include "modbus_thread.h"
#include "v2g_rtu.h"

enum rtu_phase {
    RTU_SILENCE = 0, /* the line must stay quiet until quiet_ns; then the next request may go */
    RTU_ANSWER       /* a request is out */
};

struct v2g_rtu_engine {
    int fd; /* -1: the port is not open */
    enum rtu_phase phase;
    uint32_t device; /* whose request is out */
    int slot;
    uint32_t open_failures;
    int64_t open_ns;     /* next attempt to open the port */
    int64_t quiet_ns;    /* end of the silence */
    int64_t deadline_ns; /* of the answer's first byte, then of its last */
    int64_t latest_ns;   /* of the answer's last byte, however it dribbles in */
    int64_t skip_ns;     /* another slave's frame is being thrown away until the line is quiet at this time */
    uint32_t length;     /* bytes of the answer so far */
    uint8_t bytes[2 * V2G_RTU_FRAME];
    struct v2g_rtu_line line;
    struct v2g_rtu_schedule schedule;
    struct mb_thread thread;
    int64_t until_ns[V2G_MODBUS_MAX_DEVICES]; /* end of the pause; 0: polled */
    bool doubtful[V2G_MODBUS_MAX_DEVICES];    /* its next answer might be a late one */
    struct mb_bus bus;
};

/* rtu_schedule.c */
void rtu_timing(const struct v2g_rtu_line *line, struct v2g_rtu_schedule *schedule);
void rtu_phases(struct mb_bus *bus, const struct v2g_rtu_schedule *schedule);

/* rtu_port.c */
bool rtu_known_baud(uint32_t baud);
int rtu_open(const struct v2g_rtu_line *line); /* descriptor or -errno */
ssize_t rtu_send(const struct v2g_rtu_line *line, int fd, const uint8_t *frame, size_t length);
void rtu_drain(int fd);

#endif
