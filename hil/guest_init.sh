#!/bin/sh
# First process of the User-Mode Linux guest that hil/vcan.py boots; the kernel passes V2G_JOB, the folder of the job.
# The guest's root is the host's file tree (hostfs), so the checkout and its .venv are used as they are; everything that the
# guest would write outside the checkout goes to file systems of its own.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mkdir -p /dev/shm /dev/pts
# A checkout below one of these folders (a clone in /tmp) must stay visible: it is bound aside, then back into its place.
checkout=${V2G_JOB%%/build/*}
mount --bind "$checkout" /mnt
for dir in /tmp /run /dev/shm /var/tmp /var/log; do mount -t tmpfs tmpfs "$dir"; done
[ -d "$checkout" ] || { mkdir -p "$checkout" && mount --bind /mnt "$checkout"; }
mount -t devpts devpts /dev/pts
ln -s /proc/self/fd /dev/fd
mkdir -p /run/lock

modules=/usr/lib/uml/modules/$(uname -r)/kernel
[ -d "$modules" ] && for module in drivers/net/can/dev/can-dev net/can/can net/can/can-raw drivers/net/can/vcan; do
    insmod "$modules/$module".ko* || echo "guest: cannot load $module"
done
ip link set lo up
ip link add vcan0 type vcan && ip link set vcan0 up

echo "=== guest: job starts"
/bin/sh "$V2G_JOB/job.sh" </dev/null 2>&1
echo $? >"$V2G_JOB/exit_code"
echo "=== guest: job ended"
sync
echo o >/proc/sysrq-trigger
sleep 60
