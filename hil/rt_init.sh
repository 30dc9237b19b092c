#!/bin/sh
# First process of the PREEMPT_RT guest that hil/rtkernel.py boots, in its initramfs: loads what the kernel needs to see the host's file
# tree and a CAN bus, then goes on as the User-Mode Linux guest does (guest_init.sh), with the host's file tree as its root.
/bin/busybox mount -t devtmpfs dev /dev
while read -r module; do /bin/busybox insmod "$module" || echo "guest: cannot load $module"; done </modules
/bin/busybox mount -t 9p -o trans=virtio,version=9p2000.L,msize=524288,cache=loose host /host || echo "guest: no host"
exec /bin/busybox switch_root /host "${V2G_JOB%%/build/*}/hil/guest_init.sh"
