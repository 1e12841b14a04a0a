package eventlog

// Partition gives the partition of a device, a stable function of its id;
// modules follow their device. Everything about a device goes to its
// partition, so that readers see it in order.
func Partition(device string, partitions int) int {
	h := uint64(14695981039346656037) // FNV-1a, then a finalizer: its low bits alone mix badly
	for i := range len(device) {
		h = (h ^ uint64(device[i])) * 1099511628211
	}
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	return int(h % uint64(partitions))
}
