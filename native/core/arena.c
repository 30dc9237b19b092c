/* The arena: one memfd whose size nobody can change any more, mapped and touched before anything real-time looks at it. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sender.h"

static void triple_init(struct v2g_triple *triple) {
    triple->back = 0;
    triple->front = 1;
    atomic_store_explicit(&triple->middle, 2U, memory_order_release);
}

int32_t v2g_arena_create(uint64_t boot_id, struct v2g_arena **arena) {
    const size_t bytes = sizeof(struct v2g_arena);
    const int fd = memfd_create("v2g-arena", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    void *memory = MAP_FAILED;
    if (ftruncate(fd, (off_t)bytes) == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
        memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (memory == MAP_FAILED) {
        const int error = errno;
        close(fd);
        return -error;
    }
    struct v2g_arena *made = memory;
    memset(made, 0, bytes);
    made->abi = V2G_ABI;
    made->runtime_abi = V2G_RUNTIME_ABI;
    made->bytes = bytes;
    made->boot_id = boot_id;
    triple_init(&made->commit_index);
    triple_init(&made->plan_index);
    const int error = sender_init(made);
    if (error != 0) {
        v2g_arena_destroy(made, fd);
        return -error;
    }
    *arena = made;
    return fd;
}

void v2g_arena_destroy(struct v2g_arena *arena, int32_t fd) {
    munmap(arena, sizeof *arena);
    close(fd);
}

void v2g_cells_clear(struct v2g_arena *arena, uint32_t first, uint32_t count) {
    for (uint32_t i = first; i < V2G_MAX_CELLS && i - first < count; i++)
        memset(&arena->cell[i], 0, sizeof arena->cell[i]);
}

void v2g_write_cells_clear(struct v2g_arena *arena, uint32_t first, uint32_t count) {
    memset(&arena->write_cell[first], 0, count * sizeof arena->write_cell[0]);
}

void v2g_write_cell_put(struct v2g_arena *arena, uint32_t write_cell, int64_t value, int64_t valid_until_ns) {
    v2g_write_cell_write(&arena->write_cell[write_cell], value, valid_until_ns);
}
