package clusvcadm

// usage has its texts in column 25, as the original.
const usage = `usage: clusvcadm [command]

Resource Group Control Commands:
  -v                    Print the version
  -d <group>            Disable <group>: stop it, and nobody starts it
  -e <group>            Enable <group>: start it here
  -e <group> -F         Enable <group> where its failover domain
                        likes it best
  -e <group> -m <node>  Enable <group> on <node>; -n is the same
  -r <group> -m <node>  Relocate <group> to <node>; without -m to the
                        best other node
  -M <group> -m <node>  Migrate <group> to <node> while it runs
                        (virtual machines)
  -q                    Quiet: nothing on standard output
  -R <group>            Restart <group> where it is
  -s <group>            Stop <group>: until the next change of members
                        or services, or until it is enabled
  -Z <group>            Freeze <group>: no checks, no start, no stop
  -U <group>            Unfreeze (thaw) <group>
  -c <group>            Convalesce (repair) <group>: start those
                        non-critical resources again that failed
                        and were left stopped
  -h, -?                Print this text

Resource Group Locking (for cluster Shutdown / Debugging):
  -l                    Lock: no group is started until unlocked
  -S                    Show whether groups are locked
  -u                    Unlock
`
