package walk

import "context"

// UsageOptions say what to add up.
type UsageOptions struct {
	Root  string   // put before every path; empty means "/"
	Paths []string // the starts, seen from Root
	Depth int      // how many levels below a start are given to the caller: 0 is the start alone, [NoLimit] all
	All   bool     // give files, too, not only directories; a start is always given
	// Threshold leaves out, if positive, what is smaller, and if negative, what is larger than its absolute value. It
	// is compared with Size.
	Threshold     int64
	OneFileSystem bool // do not look into directories of another file system than the start
}

// Usage is what a file, or a directory with all in it, takes.
type Usage struct {
	Path     string
	Relative string // from its start
	Size     int64  // bytes on the disk. A file with several names counts once in all starts together
	Apparent int64  // bytes of content: other than Size where files have holes, and by the rest of the last block
	Err      error  // why it, or something of it, could not be counted
}

// inode identifies a file with several names.
type inode struct{ device, number uint64 }

// DiskUsage calls fn with the usage of each directory, after those in it. A start that cannot be opened is given with its
// error. DiskUsage returns the cause of the context's end, or an error of fn.
func DiskUsage(ctx context.Context, o UsageOptions, fn func(Usage) error) error {
	c := counter{o: o, seen: map[inode]bool{}, fn: fn}
	for _, p := range o.Paths {
		b, err := openBase(o.Root, p)
		if err != nil {
			if err := fn(Usage{Path: p, Relative: ".", Err: err}); err != nil {
				return err
			}
			continue
		}
		start := Entry{Path: b.path, Relative: "."}
		look(&start, b.fd, "", false)
		c.device = start.Device
		_, err = c.visit(ctx, b, start, 0)
		b.close()
		if err != nil {
			return err
		}
	}
	return nil
}

type counter struct {
	o      UsageOptions
	device uint64
	seen   map[inode]bool
	fn     func(Usage) error
}

func (c *counter) visit(ctx context.Context, b *base, e Entry, depth int) (Usage, error) {
	u := Usage{Path: e.Path, Relative: e.Relative, Err: e.Err}
	if ctx.Err() != nil {
		return u, context.Cause(ctx)
	}
	if !c.again(e) {
		u.Size, u.Apparent = e.Allocated, e.Size
	}
	if e.Mode.IsDir() && (!c.o.OneFileSystem || e.Device == c.device) {
		children, err := b.read(ctx, e, false)
		if err != nil {
			u.Err = err
		}
		for _, child := range children {
			in, err := c.visit(ctx, b, child, depth+1)
			if err != nil {
				return u, err
			}
			u.Size += in.Size
			u.Apparent += in.Apparent
		}
	}
	shown := c.o.Depth < 0 || depth <= c.o.Depth
	if !shown || depth > 0 && !c.o.All && !e.Mode.IsDir() && e.Err == nil || c.below(u) {
		return u, nil
	}
	return u, c.fn(u)
}

// again reports whether a file was counted under another name.
func (c *counter) again(e Entry) bool {
	if e.Mode.IsDir() || e.Links < 2 {
		return false
	}
	i := inode{e.Device, e.Inode}
	if c.seen[i] {
		return true
	}
	c.seen[i] = true
	return false
}

// below reports whether the threshold leaves u out. An error is never left out.
func (c *counter) below(u Usage) bool {
	t := c.o.Threshold
	return u.Err == nil && (t > 0 && u.Size < t || t < 0 && u.Size > -t)
}
