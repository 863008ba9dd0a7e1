#!/bin/busybox sh
# The first process of a test boot. Everything it says begins with "stillboot-init:", so that a test
# can tell its lines from the kernel's.
export PATH=/bin:/sbin
/bin/busybox --install -s /bin

mount -t proc proc /proc
mount -t sysfs sysfs /sys
# The kernel may have mounted it before us.
grep -q ' /dev ' /proc/mounts || mount -t devtmpfs devtmpfs /dev

# Kernel messages would break our lines in the middle; only those of a dying kernel still come.
dmesg -n 1

while read -r module; do
    modprobe "$module" || echo "stillboot-init: cannot load $module"
done < /etc/modules

if [ -d /sys/firmware/efi ]; then
    modprobe efivarfs || echo "stillboot-init: cannot load efivarfs"
    mount -t efivarfs efivarfs /sys/firmware/efi/efivars || echo "stillboot-init: no efivarfs"
fi

echo "stillboot-init: ready KERNEL=$(uname -r) CMDLINE=$(cat /proc/cmdline)"

# A test at the other end of the console says what to do.
if grep -q stillboot.commands /proc/cmdline; then
    stty -echo
    echo "stillboot-test: ready"
    while read -r line; do
        eval "$line"
        echo "stillboot-test: status $?"
    done
fi

# A test appends its own cpio archive to this one; the kernel unpacks both.
if [ -x /test.sh ]; then
    /test.sh
    echo "stillboot-init: test ended STATUS=$?"
fi

poweroff -f
# Never reached, but if this process ends the kernel panics, and panic=1 reboots.
