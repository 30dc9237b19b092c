/* A Modbus/TCP server made of libmodbus, for tests: prints its port and serves one connection after another.
 * Register i of either table holds 1000 + i, coil and discrete input i hold i % 2. */
#include <errno.h>
#include <modbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <netinet/in.h>
#include <sys/socket.h>

enum { COUNT = 100 };

static void serve(modbus_t *context, modbus_mapping_t *mapping)
{
    uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
    int length = modbus_receive(context, query);
    while (length >= 0) {
        modbus_reply(context, query, length, mapping);
        length = modbus_receive(context, query);
    }
    modbus_close(context);
}

int main(void)
{
    modbus_t *context = modbus_new_tcp("127.0.0.1", 0);
    modbus_mapping_t *mapping = modbus_mapping_new(COUNT, COUNT, COUNT, COUNT);
    int listener = modbus_tcp_listen(context, 1);
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    if (mapping == NULL || listener < 0 || getsockname(listener, (struct sockaddr *)&address, &size) != 0) {
        return 1;
    }
    for (int i = 0; i < COUNT; i++) {
        mapping->tab_registers[i] = mapping->tab_input_registers[i] = (uint16_t)(1000 + i);
        mapping->tab_bits[i] = mapping->tab_input_bits[i] = (uint8_t)(i % 2);
    }
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    while (modbus_tcp_accept(context, &listener) >= 0) {
        serve(context, mapping);
    }
    return 0;
}
