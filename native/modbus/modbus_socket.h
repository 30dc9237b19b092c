/* Connections of the Modbus engines. */
#ifndef V2G_MODBUS_SOCKET_H
#define V2G_MODBUS_SOCKET_H

#include <stdint.h>

/* Begins to connect, without waiting and without collecting small frames. `address` is in network byte order, 4 or 16 bytes
 * as `family` (4, 6) says. Returns the descriptor or -errno. */
int mb_connect(uint8_t family, const uint8_t *address, uint16_t port, uint32_t scope_id);

/* How an attempt to connect ended: 0 or the errno. */
int mb_connect_result(int fd);

#endif
