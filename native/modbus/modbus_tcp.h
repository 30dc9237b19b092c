/* Inside of the Modbus/TCP engine. */
#ifndef V2G_MODBUS_TCP_H
#define V2G_MODBUS_TCP_H

#include <sys/epoll.h>

#include "modbus.h"
#include "modbus_thread.h"
#include "modbus_timer.h"

enum {
    MB_OUT = V2G_MODBUS_MAX_WINDOW * 32, /* the longest request is 25 bytes (function 23 with four registers) */
    MB_EVENTS = V2G_MODBUS_MAX_DEVICES + 1,
    MB_STRAYS = 32 /* late answers in a row before the connection is given up */
};

struct mb_conn {
    int fd; /* -1: none */
    enum v2g_modbus_state state;
    uint16_t transaction; /* identifier of the newest request */
    uint16_t issued;      /* requests sent on this connection, saturates */
    uint16_t strays;      /* late answers since the last good one */
    uint16_t partial;     /* bytes of an unfinished answer in `in` */
    uint16_t unsent;      /* bytes in `out` */
    bool answered;        /* this connection brought a good answer */
    int64_t until_ns;     /* end of the pause or connect deadline */
    int64_t gap_end_ns;   /* no request before */
    uint8_t in[V2G_MODBUS_FRAME];
    uint8_t out[MB_OUT];
};

struct v2g_modbus_engine {
    int epoll_fd;
    struct mb_thread thread;
    uint32_t writer_count;
    int64_t scan_ns; /* next look at the write cells */
    struct mb_timers timers;
    uint16_t writers[V2G_MODBUS_MAX_DEVICES]; /* devices that are written to */
    struct epoll_event events[MB_EVENTS];
    uint8_t scratch[4096];
    struct mb_conn conns[V2G_MODBUS_MAX_DEVICES];
    struct mb_bus bus;
};

#endif
