package hub

// Generation implements Device.
func (s *device) Generation() uint64 { return s.generation }
