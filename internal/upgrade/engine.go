package upgrade

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"talos.internal/internal/install"
	"talos.internal/internal/metastore"
	"talos.internal/resource/runtime"
)

// ErrUnderWay says that another upgrade is being written.
var ErrUnderWay = errors.New("another upgrade is under way")

// Device is an open disk or partition.
type Device interface {
	install.Target
	io.Closer
	Size() int64
	SectorSize() int
}

// Disk is the system's disk.
type Disk struct {
	Name string // for messages
	// Whole opens the disk, of which partitions are in use. Claim opens a partition of it for us alone, Share one that others write too.
	Whole func() (Device, error)
	Claim func(number int) (Device, error)
	Share func(number int) (Device, error)
}

// Installer is what a new version is installed from. It is closed when it has been written.
type Installer interface {
	io.Closer
	Assets() install.Assets
}

// Engine changes the version of a machine. Its methods are safe for concurrent use. All fields but Changed and Record are needed.
type Engine struct {
	// Disk finds the system's disk. The error says why there is none.
	Disk func(ctx context.Context) (Disk, error)
	// Running is the root hash of the system that runs.
	Running install.RootHash
	// Open brings the installer image of an order to this machine and opens it. say takes a line for a person.
	Open func(ctx context.Context, o Order, say func(string) error) (Installer, error)
	// Allowed says why the machine must not be changed now, such as for etcd's sake. undo, which may be nil, takes back what it holds
	// for the upgrade, if that comes to nothing.
	Allowed func(ctx context.Context) (undo func(), err error)
	// Trusted says why the firmware would not start an image; nil: it starts any.
	Trusted func(uki install.Blob) error
	// Changed is told that META has changed.
	Changed func()
	// Record is told of each write; nil is nobody.
	Record func(install.Record)

	writing sync.Mutex
}

// Order is an upgrade or a rollback that somebody has asked for.
type Order struct {
	ID    string
	Image string // empty for a rollback
	// Namespace is where containerd has the image.
	Namespace string
	// Force leaves out what Allowed says, and has the new system prove no more than that its API answers.
	Force bool
	// Uncordon says that the machine's Node is drained for this, and is to take pods again afterwards.
	Uncordon bool
}

// Upgrade writes a version to the slot that does not run, to be tried at the next start. say takes lines for a person, and its error ends the work;
// the machine is as it was then. So it is after each other error, but that what the other slot had may be gone. META has the reason.
func (e *Engine) Upgrade(ctx context.Context, o Order, say func(string) error) error {
	return e.alone(ctx, o, func() error {
		// Before the image is fetched, which may take as long as the running system has to prove itself, and nobody else writes meanwhile.
		err := e.on(ctx, func(d Disk, s *install.System, _ *install.Recorder) error {
			_, err := s.Proved(e.Running)
			return wrap("upgrade on "+d.Name, err)
		})
		if err != nil {
			return err
		}
		in, err := e.Open(ctx, o, say)
		if err != nil {
			return err
		}
		defer in.Close()
		a := in.Assets()
		hash, err := install.ReadRootHash(a.UKI)
		if err != nil {
			return fmt.Errorf("upgrade by %s: %w", o.Image, err)
		}
		release, err := install.ReadRelease(a.UKI)
		if err != nil {
			return fmt.Errorf("upgrade by %s: %w", o.Image, err)
		}
		if e.Trusted != nil {
			if err := e.Trusted(a.UKI); err != nil {
				return fmt.Errorf("upgrade by %s: %w", o.Image, err)
			}
		}
		return e.on(ctx, func(d Disk, s *install.System, w *install.Recorder) error {
			r, err := e.record(s, o)
			if err != nil {
				return err
			}
			r.ToVersion = release.Version
			if err := compatible(s, r.From, release); err != nil {
				return err
			}
			p, err := install.PlanUpgrade(install.UpgradeRequest{
				Disk: d.Name, System: s, Running: e.Running, UKI: a.UKI.Size, Root: a.Root.Size, RootHash: hash, Time: time.Now(), Meta: r.changes(),
			})
			if err != nil {
				return err
			}
			if err := say(fmt.Sprintf("version %s goes to slot %s of %s; slot %s (%s) runs and stays", r.ToVersion, r.To, d.Name, r.From, r.FromVersion)); err != nil {
				return err
			}
			if err := carryOut(ctx, p, w, a, say); err != nil {
				return err
			}
			return say(fmt.Sprintf("slot %s is tried at the next start; if it does not prove itself, slot %s (%s) is started again", r.To, r.From, r.FromVersion))
		})
	})
}

// Rollback has the system in the other slot tried at the next start.
func (e *Engine) Rollback(ctx context.Context, o Order, say func(string) error) error {
	return e.alone(ctx, o, func() error {
		return e.on(ctx, func(d Disk, s *install.System, w *install.Recorder) error {
			r, err := e.record(s, o)
			if err != nil {
				return err
			}
			r.Rollback = true
			other, _ := s.Slot(r.To)
			r.ToVersion = other.Version
			p, err := install.PlanRollback(d.Name, s, e.Running, time.Now(), r.changes())
			if err != nil {
				return err
			}
			if err := carryOut(ctx, p, w, install.Assets{}, say); err != nil {
				return err
			}
			return say(fmt.Sprintf("slot %s (%s) is tried at the next start", r.To, r.ToVersion))
		})
	})
}

// Look reads the record, and decides what has come of it. A record that has to be changed is changed, and loader.conf with it. onTrial says that
// the running system has to prove itself now. ok is false if there is no record.
func (e *Engine) Look(ctx context.Context) (r Record, running install.Slot, onTrial, ok bool, err error) {
	err = e.wait(func() error {
		return e.on(ctx, func(d Disk, s *install.System, w *install.Recorder) error {
			var err error
			if running, err = s.Running(e.Running); err != nil {
				return err
			}
			if r, ok, err = readRecord(s, w); err != nil || !ok {
				return err
			}
			next, _ := s.Next()
			var v verdict
			r, v = judge(r, running, s.Images, next.Slot, time.Now())
			switch v {
			case trial:
				onTrial = true
			case settle:
				// The running one has proved itself before; this makes it the one that is started whatever the other's counter.
				p, err := install.PlanConfirm(d.Name, s, e.Running, time.Now(), r.changes())
				if err != nil {
					return err
				}
				return carryOut(ctx, p, w, install.Assets{}, nil)
			case nothing:
			}
			return nil
		})
	})
	return r, running, onTrial, ok, err
}

// Confirm makes the running system permanent.
func (e *Engine) Confirm(ctx context.Context, r Record) (Record, error) {
	r.Phase, r.Reason, r.Ended = runtime.UpgradePermanent, "", time.Now()
	err := e.wait(func() error {
		return e.on(ctx, func(d Disk, s *install.System, w *install.Recorder) error {
			p, err := install.PlanConfirm(d.Name, s, e.Running, time.Now(), r.changes())
			if err != nil {
				return err
			}
			return carryOut(ctx, p, w, install.Assets{}, nil)
		})
	})
	return r, err
}

// Return has the system from before started again, and keeps the reason. Who calls it restarts the machine.
func (e *Engine) Return(ctx context.Context, r Record, reason string) (Record, error) {
	r.Phase, r.Reason, r.Ended = runtime.UpgradeFailed, reason, time.Now()
	err := e.wait(func() error {
		return e.on(ctx, func(d Disk, s *install.System, w *install.Recorder) error {
			p, err := install.PlanReturn(d.Name, s, e.Running, r.changes())
			if err != nil {
				return err
			}
			return carryOut(ctx, p, w, install.Assets{}, nil)
		})
	})
	return r, err
}

// alone refuses a second order while one is carried out, and one that is not allowed. An order that fails is noted.
func (e *Engine) alone(ctx context.Context, o Order, f func() error) error {
	if !e.writing.TryLock() {
		return ErrUnderWay
	}
	defer e.writing.Unlock()
	err := e.allowed(ctx, o, f)
	if err != nil {
		// Also if nobody waits for it any more.
		err = errors.Join(err, wrap("note why", e.note(context.WithoutCancel(ctx), o, err)))
	}
	return err
}

func (e *Engine) allowed(ctx context.Context, o Order, f func() error) error {
	if o.Force {
		return f()
	}
	undo, err := e.Allowed(ctx)
	if err != nil {
		return err
	}
	if err = f(); err != nil && undo != nil {
		undo()
	}
	return err
}

func wrap(what string, err error) error {
	if err != nil {
		err = fmt.Errorf("%s: %w", what, err)
	}
	return err
}

// note has META say why an order came to nothing: whoever asked may not have waited. The record of a system that can still be started stays, whoever
// ordered that.
func (e *Engine) note(ctx context.Context, o Order, cause error) error {
	err := e.on(ctx, func(d Disk, s *install.System, w *install.Recorder) error {
		r, err := e.record(s, o)
		if err != nil {
			return err
		}
		old, ok, err := readRecord(s, w)
		if err != nil {
			return err
		}
		next, _ := s.Next()
		if _, v := judge(old, r.From, s.Images, next.Slot, time.Now()); ok && old.Phase == runtime.UpgradePrepared && v != settle {
			return nil
		}
		r.Rollback = o.Image == ""
		r.Phase, r.Refused, r.Reason, r.Ended = runtime.UpgradeFailed, true, cause.Error(), r.Started
		p, err := install.PlanNote(d.Name, s, r.changes())
		if err != nil {
			return err
		}
		return carryOut(ctx, p, w, install.Assets{}, nil)
	})
	if errors.Is(err, install.ErrNotInstalled) {
		return nil // there is no place for it
	}
	return err
}

func (e *Engine) wait(f func() error) error {
	e.writing.Lock()
	defer e.writing.Unlock()
	return f()
}

// record makes the record of an order.
func (e *Engine) record(s *install.System, o Order) (Record, error) {
	from, err := s.Running(e.Running)
	if err != nil {
		return Record{}, err
	}
	r := Record{ID: o.ID, From: from, To: from.Other(), Image: o.Image, Uncordon: o.Uncordon, Force: o.Force, Phase: runtime.UpgradePrepared, Started: time.Now()}
	if i, ok := s.Slot(from); ok {
		r.FromVersion = i.Version
	}
	return r, nil
}

// on opens the disk with the partitions that a plan may write to.
func (e *Engine) on(ctx context.Context, f func(Disk, *install.System, *install.Recorder) error) (err error) {
	d, err := e.Disk(ctx)
	if err != nil {
		return err
	}
	whole, err := d.Whole()
	if err != nil {
		return fmt.Errorf("open the system's disk: %w", err)
	}
	open := []io.Closer{whole}
	defer func() {
		for _, c := range open {
			err = errors.Join(err, c.Close())
		}
	}()
	// The partitions are known by the table alone: the boot loader's files are read through the device of their partition, as they are written.
	table, err := install.ReadTable(whole, whole.Size(), whole.SectorSize())
	if err != nil {
		return err
	}
	split := &install.Split{Whole: whole}
	for _, p := range table.Partitions {
		how := d.Claim
		switch {
		case p.Label == install.LabelMeta:
			how = d.Share
		case p.Label == install.LabelEFI:
		case strings.HasPrefix(p.Label, "ROOT-") && p.GUID != e.Running.PartitionGUID():
		default:
			continue
		}
		t, err := how(p.Number)
		if err != nil {
			return fmt.Errorf("open partition %s of %s: %w", p.Label, d.Name, err)
		}
		open = append(open, t)
		split.Parts = append(split.Parts, install.SplitPart{Offset: p.Offset, Size: p.Size, Target: t})
	}
	w := &install.Recorder{Target: split, Record: e.Record}
	s, err := install.ReadSystem(w, whole.Size(), whole.SectorSize())
	if err != nil {
		return err
	}
	err = f(d, s, w)
	if e.Changed != nil {
		e.Changed()
	}
	return err
}

func readRecord(s *install.System, r io.ReaderAt) (Record, bool, error) {
	p, ok := s.Table.Find(install.LabelMeta)
	if !ok {
		return Record{}, false, nil
	}
	c, _, err := metastore.Read(io.NewSectionReader(r, p.Offset, p.Size))
	if err != nil {
		return Record{}, false, err
	}
	return ParseRecord(c.Values[Key])
}

// carryOut executes a plan and tells of its steps, and of how far the long ones are. say may be nil.
func carryOut(ctx context.Context, p install.Plan, w *install.Recorder, a install.Assets, say func(string) error) error {
	if say == nil {
		return install.Execute(ctx, p, w, a, nil)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	tell := func(text string) {
		if err := say(text); err != nil {
			cancel(err)
		}
	}
	var step install.Step
	var done, shown int64
	told := w.Record
	counting := *w
	counting.Record = func(r install.Record) {
		if told != nil {
			told(r)
		}
		if step.Do != install.OpCopy || r.Data == nil {
			return
		}
		done += int64(len(r.Data))
		if tenth := done * 10 / step.Size; tenth > shown && tenth < 10 {
			shown = tenth
			tell(fmt.Sprintf("%s: %d%%", step.What, tenth*10))
		}
	}
	return install.Execute(ctx, p, &counting, a, func(s install.Step) {
		step, done, shown = s, 0, 0
		tell(s.String())
	})
}

// compatible refuses a version that cannot read what this one has written.
func compatible(s *install.System, running install.Slot, to install.Release) error {
	i, ok := s.Slot(running)
	if !ok {
		return nil
	}
	b, err := s.Open(i)
	if err != nil {
		return err
	}
	from, err := install.ReadRelease(b)
	if err != nil {
		return err
	}
	if to.ConfigFormat < from.ConfigFormat {
		return fmt.Errorf("version %s reads machine configs of format %d, and this one (%s) has written format %d: it would not understand its config; "+
			"a rollback to what was there before is possible ('talosctl rollback'), or a reset", to.Version, to.ConfigFormat, from.Version, from.ConfigFormat)
	}
	return nil
}
