# Boots systemd in namespaces: "keep DIR" outside, "boot DIR" as process 1,
# "enter DIR" as the same process in a control group namespace as well.
set -e
dir=$2
root=$dir/root
case $1 in
keep)
	# A control group of the machine's own, or two machines would share theirs.
	if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
		mount -t cgroup2 cgroup2 "$dir/cg"
	else
		mount -t cgroup -o none,name=systemd cgroup "$dir/cg"
	fi
	group=$dir/cg/haobox-test-$$
	mkdir "$group"
	unshare -m -n -i -u -p -f --kill-child --propagation private sh "$dir/boot.sh" boot "$dir" "$group" </dev/null >&2 &
	p=$!
	echo $p
	# Until the test ends, or its process.
	cat >/dev/null || true
	kill -9 $p 2>/dev/null || true
	wait $p 2>/dev/null || true
	for _ in $(seq 100); do
		find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
		[ -d "$group" ] || break
		sleep 0.1
	done
	;;
boot)
	echo 0 >"$3/cgroup.procs"
	exec unshare -C sh "$dir/boot.sh" enter "$dir"
	;;
enter)
	mount -t tmpfs tmpfs "$dir/over"
	mkdir "$dir/over/upper" "$dir/over/work"
	mount -t overlay overlay -o "lowerdir=/,upperdir=$dir/over/upper,workdir=$dir/over/work" "$root"

	mount -t proc proc "$root/proc"
	mount --bind "$root/proc/sys" "$root/proc/sys"
	mount -o remount,bind,ro "$root/proc/sys"
	if [ -e "$root/proc/sysrq-trigger" ]; then mount --bind /dev/null "$root/proc/sysrq-trigger"; fi
	mount -t sysfs -o ro sysfs "$root/sys"
	if [ -f "$dir/cg/cgroup.controllers" ]; then
		mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
	else
		mount -t tmpfs tmpfs "$root/sys/fs/cgroup"
		mkdir "$root/sys/fs/cgroup/systemd"
		mount -t cgroup -o none,name=systemd cgroup "$root/sys/fs/cgroup/systemd"
	fi
	for d in run dev tmp; do mount -t tmpfs -o mode=755 tmpfs "$root/$d"; done
	chmod 1777 "$root/tmp"
	for n in null zero full random urandom tty; do
		: >"$root/dev/$n"
		mount --bind "/dev/$n" "$root/dev/$n"
	done
	: >"$root/dev/console"
	mkdir "$root/dev/shm" "$root/dev/pts"
	mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
	mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
	ln -s pts/ptmx "$root/dev/ptmx"

	# Of the machine's units only what systemd itself needs is started.
	for d in "$root"/etc/systemd/system/*.wants "$root"/etc/systemd/system/*.requires; do rm -rf "$d"; done
	for u in systemd-modules-load systemd-sysctl systemd-udevd systemd-udev-trigger systemd-random-seed systemd-remount-fs \
		systemd-binfmt systemd-hwdb-update systemd-networkd systemd-logind systemd-pstore kmod-static-nodes e2scrub_reap getty@ \
		systemd-firstboot systemd-machine-id-commit ldconfig; do
		ln -sf /dev/null "$root/etc/systemd/system/$u.service"
	done
	for u in sys-fs-fuse-connections.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount dev-hugepages.mount \
		proc-sys-fs-binfmt_misc.automount systemd-udevd-control.socket systemd-udevd-kernel.socket swap.target; do
		ln -sf /dev/null "$root/etc/systemd/system/$u"
	done
	tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
	rm -f "$root/var/lib/dbus/machine-id" "$root/etc/fstab"
	mkdir -p "$root/etc/systemd/journald.conf.d"
	printf '[Journal]\nStorage=volatile\n' >"$root/etc/systemd/journald.conf.d/test.conf"

	cp -r "$dir/files/." "$root/"
	while read -r from to; do
		mkdir -p "$(dirname "$root$to")"
		if [ -d "$from" ]; then mkdir -p "$root$to"; else : >>"$root$to"; fi
		mount --bind -o ro "$from" "$root$to"
	done <"$dir/binds"
	ip link set lo up
	ROOT=$root sh -e "$dir/setup"
	exec env -i container=haobox PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$root" /lib/systemd/systemd --unit=basic.target --show-status=no
	;;
esac
