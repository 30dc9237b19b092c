/* Opens a line: a serial port (raw, exclusive, without the driver's own delays) or a serial server. */
#include <errno.h>
#include <fcntl.h>
#include <linux/serial.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "modbus_socket.h"
#include "rtu.h"

enum { CONNECT_TIMEOUT_MS = 1000, DRAINS = 16 };

static const struct {
    uint32_t baud;
    speed_t speed;
} SPEEDS[] = {{1200, B1200},   {2400, B2400},   {4800, B4800},     {9600, B9600},    {19200, B19200},
              {38400, B38400}, {57600, B57600}, {115200, B115200}, {230400, B230400}};

static speed_t speed_of(uint32_t baud) {
    for (size_t i = 0; i < sizeof SPEEDS / sizeof SPEEDS[0]; i++) {
        if (SPEEDS[i].baud == baud) {
            return SPEEDS[i].speed;
        }
    }
    return B0;
}

bool rtu_known_baud(uint32_t baud) {
    return speed_of(baud) != B0;
}

static bool set_format(int fd, const struct v2g_rtu_line *line) {
    struct termios format;
    if (tcgetattr(fd, &format) != 0) {
        return false;
    }
    cfmakeraw(&format);
    format.c_cflag |= CLOCAL | CREAD;
    format.c_cflag &= ~(tcflag_t)(PARENB | PARODD | CSTOPB | CRTSCTS);
    format.c_cflag |= line->parity == V2G_RTU_NONE ? 0U : PARENB;
    format.c_cflag |= line->parity == V2G_RTU_ODD ? PARODD : 0U;
    format.c_cflag |= line->stop_bits == 2U ? CSTOPB : 0U;
    format.c_cc[VMIN] = 1;
    format.c_cc[VTIME] = 0;
    return cfsetspeed(&format, speed_of(line->baud)) == 0 && tcsetattr(fd, TCSANOW, &format) == 0;
}

/* The driver hands over each character at once instead of collecting them. Not every driver knows this. */
static void set_low_latency(int fd) {
    struct serial_struct serial;
    if (ioctl(fd, TIOCGSERIAL, &serial) == 0) {
        serial.flags = (int)((unsigned int)serial.flags | ASYNC_LOW_LATENCY);
        (void)ioctl(fd, TIOCSSERIAL, &serial);
    }
}

static bool set_rs485(int fd, uint8_t mode) {
    struct serial_rs485 rs485 = {.flags = SER_RS485_ENABLED | SER_RS485_RTS_ON_SEND};
    return mode == V2G_RTU_RS485_OFF || ioctl(fd, TIOCSRS485, &rs485) == 0 || mode == V2G_RTU_RS485_TRY;
}

static int open_port(const struct v2g_rtu_line *line) {
    const int fd = open(line->path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    if (!set_format(fd, line) || ioctl(fd, TIOCEXCL) != 0 || !set_rs485(fd, line->rs485)) {
        const int error = errno;
        (void)close(fd);
        return -error;
    }
    set_low_latency(fd);
    (void)tcflush(fd, TCIOFLUSH);
    return fd;
}

/* The thread serves this line alone, so it may wait for it. */
static int open_server(const struct v2g_rtu_line *line) {
    const int fd = mb_connect(line->family, line->address, line->port, 0);
    if (fd < 0) {
        return fd;
    }
    struct pollfd watched = {.fd = fd, .events = POLLOUT};
    const int error = poll(&watched, 1, CONNECT_TIMEOUT_MS) > 0 ? mb_connect_result(fd) : ETIMEDOUT;
    if (error != 0) {
        (void)close(fd);
        return -error;
    }
    return fd;
}

/* Sends a whole frame; the number of bytes taken or -1. */
ssize_t rtu_send(const struct v2g_rtu_line *line, int fd, const uint8_t *frame, size_t length) {
    return line->family != 0U ? send(fd, frame, length, MSG_NOSIGNAL | MSG_DONTWAIT) : write(fd, frame, length);
}

/* Throws away what has come without being asked for. */
void rtu_drain(int fd) {
    uint8_t bytes[V2G_RTU_FRAME];
    for (int i = 0; i < DRAINS && read(fd, bytes, sizeof bytes) > 0; i++) {
    }
}

int rtu_open(const struct v2g_rtu_line *line) {
    return line->family != 0U ? open_server(line) : open_port(line);
}
