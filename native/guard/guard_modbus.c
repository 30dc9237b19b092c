/* Stopping Modbus/TCP devices: one static write each, over connections of the guard's own, again and again. The table is bounded,
 * nothing waits, and a silent device costs the others nothing. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../modbus/modbus_socket.h"
#include "guard.h"

#define ANSWER_NS INT64_C(1000000000) /* a connection stands, a write is confirmed within this */
#define AGAIN_NS  INT64_C(1000000000) /* a stop is written again, a failed device is tried again after this */

bool guard_fallbacks_good(const struct v2g_guard_config *config) {
    if (config->fallbacks > V2G_GUARD_MAX_FALLBACKS)
        return false;
    for (uint32_t i = 0; i < config->fallbacks; i++) {
        const struct v2g_guard_fallback *f = &config->fallback[i];
        const uint8_t function = f->stop.function;
        const bool one = function == 5 || function == 6;
        const bool many = (function == 15 && f->stop.count >= 1 && f->stop.count <= 16) ||
                          (function == 16 && f->stop.count >= 1 && f->stop.count <= V2G_MODBUS_WRITE_WORDS);
        if ((f->family != 4 && f->family != 6) || f->port == 0 || !(one || many))
            return false;
    }
    return true;
}

static void close_device(struct guard_device *device) {
    if (device->phase != DEVICE_CLOSED)
        close(device->fd);
    device->fd = -1;
    device->phase = DEVICE_CLOSED;
}

void guard_devices_close(struct guard *guard) {
    for (uint32_t i = 0; i < V2G_GUARD_MAX_FALLBACKS; i++)
        close_device(&guard->device[i]);
}

void guard_devices_reset(struct guard *guard, int64_t now_ns) {
    guard_devices_close(guard);
    for (uint32_t i = 0; i < V2G_GUARD_MAX_FALLBACKS; i++)
        guard->device[i] = (struct guard_device){.fd = -1, .due_ns = now_ns};
}

static void fail(struct guard_device *device, const struct v2g_guard_fallback *fallback, int error, int64_t now_ns) {
    if (!device->refused)
        guard_tell_device("it does not take its stop yet", fallback, error);
    device->refused = true;
    close_device(device);
    device->due_ns = now_ns + AGAIN_NS;
}

static struct v2g_modbus_request stop_of(const struct v2g_guard_fallback *fallback, uint16_t transaction) {
    const struct v2g_modbus_action *stop = &fallback->stop;
    struct v2g_modbus_request request = {.transaction = transaction,
                                         .unit = fallback->unit,
                                         .function = stop->function,
                                         .address = stop->address,
                                         .count = stop->function == 5 || stop->function == 6 ? 1 : stop->count};
    memcpy(request.words, stop->words, sizeof request.words);
    return request;
}

static void write_stop(struct guard_device *device, const struct v2g_guard_fallback *fallback, int64_t now_ns) {
    uint8_t frame[V2G_MODBUS_FRAME];
    const struct v2g_modbus_request request = stop_of(fallback, ++device->transaction);
    const size_t length = v2g_modbus_build(&request, frame);
    device->received = 0;
    device->phase = DEVICE_WAITING;
    device->due_ns = now_ns + ANSWER_NS;
    if (send(device->fd, frame, length, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)length)
        fail(device, fallback, errno, now_ns);
}

static void take_answer(struct guard_device *device, const struct v2g_guard_fallback *fallback, int64_t now_ns) {
    const ssize_t n =
        recv(device->fd, device->answer + device->received, sizeof device->answer - device->received, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0 || device->phase != DEVICE_WAITING) {
        fail(device, fallback, n < 0 ? errno : ECONNRESET, now_ns);
        return;
    }
    device->received = (uint16_t)(device->received + n);
    const struct v2g_modbus_request request = stop_of(fallback, device->transaction);
    struct v2g_modbus_parsed parsed;
    v2g_modbus_parse(device->answer, device->received, &request, 1, &parsed);
    if (parsed.verdict == V2G_MODBUS_MORE)
        return;
    if (parsed.verdict != V2G_MODBUS_REPLY) {
        fail(device, fallback, EPROTO, now_ns);
        return;
    }
    if (!device->confirmed)
        guard_tell_device("it confirmed its stop", fallback, 0);
    device->confirmed = true;
    device->phase = DEVICE_IDLE;
    device->due_ns = now_ns + AGAIN_NS;
}

static void begin(struct guard_device *device, const struct v2g_guard_fallback *fallback, int64_t now_ns) {
    const int fd = mb_connect(fallback->family, fallback->address, fallback->port, fallback->scope_id);
    if (fd < 0) {
        fail(device, fallback, -fd, now_ns);
        return;
    }
    device->fd = fd;
    device->phase = DEVICE_CONNECTING;
    device->due_ns = now_ns + ANSWER_NS;
}

static void step(struct guard_device *device, const struct v2g_guard_fallback *fallback, short events, int64_t now_ns) {
    if (device->phase == DEVICE_CONNECTING && events != 0) {
        const int error = mb_connect_result(device->fd);
        if (error == 0)
            write_stop(device, fallback, now_ns);
        else
            fail(device, fallback, error, now_ns);
    } else if (events != 0) {
        take_answer(device, fallback, now_ns);
    } else if (now_ns >= device->due_ns) {
        if (device->phase == DEVICE_CLOSED)
            begin(device, fallback, now_ns);
        else if (device->phase == DEVICE_IDLE)
            write_stop(device, fallback, now_ns);
        else
            fail(device, fallback, ETIMEDOUT, now_ns);
    }
}

void guard_devices_step(struct guard *guard, int64_t now_ns) {
    const uint32_t count = guard->peer.config.fallbacks;
    for (uint32_t i = 0; i < count; i++) {
        const struct guard_device *device = &guard->device[i];
        const short events = device->phase == DEVICE_CONNECTING ? POLLOUT : POLLIN;
        guard->look[i] = (struct pollfd){.fd = device->fd, .events = events};
    }
    if (count == 0 || poll(guard->look, count, 0) < 0)
        return;
    for (uint32_t i = 0; i < count; i++)
        step(&guard->device[i], &guard->peer.config.fallback[i], guard->look[i].revents, now_ns);
}

bool guard_devices_busy(const struct guard *guard) {
    for (uint32_t i = 0; i < guard->peer.config.fallbacks; i++) {
        const enum device_phase phase = guard->device[i].phase;
        if (phase == DEVICE_CONNECTING || phase == DEVICE_WAITING)
            return true;
    }
    return false;
}
