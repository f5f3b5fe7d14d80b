package upgrade

import (
	"encoding/json"
	"fmt"
	"time"

	"talos.internal/internal/install"
	"talos.internal/internal/install/sdboot"
	"talos.internal/internal/metastore"
	"talos.internal/resource/runtime"
)

// Key is where META has the Record. While a system is on trial, metastore.Upgrade has the entry of the one from before, as published.
const Key metastore.Key = 0x20

// Record is what META keeps of the last upgrade or rollback.
type Record struct {
	ID       string       `json:"id"` // of the call that asked for it
	Rollback bool         `json:"rollback,omitempty"`
	From     install.Slot `json:"from"`
	To       install.Slot `json:"to"`
	// Versions as the UKIs' os-release has them.
	FromVersion string `json:"fromVersion"`
	ToVersion   string `json:"toVersion"`
	Image       string `json:"image,omitempty"`
	// Uncordon says that the machine's Node was drained by the machine itself, and is to take pods again at the end.
	Uncordon bool `json:"uncordon,omitempty"`
	// Force says that whoever asked takes any system whose API answers, such as for a machine that is not healthy as it is.
	Force bool `json:"force,omitempty"`
	// Refused says that nothing of it was ever to be started: the order failed, for Reason, while it was carried out.
	Refused bool                 `json:"refused,omitempty"`
	Phase   runtime.UpgradePhase `json:"phase"`
	Reason  string               `json:"reason,omitempty"`
	Started time.Time            `json:"started"`
	Ended   time.Time            `json:"ended,omitzero"`
}

// maxReason limits what META has to hold of a reason.
const maxReason = 4096

// ParseRecord reads what META has under [Key]. Nothing is no record.
func ParseRecord(s string) (r Record, ok bool, err error) {
	if s == "" {
		return Record{}, false, nil
	}
	if err := json.Unmarshal([]byte(s), &r); err != nil {
		return Record{}, false, fmt.Errorf("read the record of an upgrade in META: %w", err)
	}
	return r, true, nil
}

// changes returns what META gets for it to have r.
func (r Record) changes() install.Changes {
	if len(r.Reason) > maxReason {
		r.Reason = r.Reason[:maxReason]
	}
	b, _ := json.Marshal(r) // strings and times of this century: it cannot fail
	c := install.Changes{}.Set(Key, string(b))
	if r.Phase == runtime.UpgradePrepared {
		return c.Set(metastore.Upgrade, "talos-"+string(r.From)+".efi")
	}
	return c.Delete(metastore.Upgrade)
}

// What the machine has to do about a record when it has started.
type verdict int

const (
	nothing verdict = iota
	trial           // the running system is on trial: it has to prove itself
	settle          // the record has to be changed, and loader.conf with it
)

// judge decides what has come of r, for the system in the slot that runs. images are what the boot loader sees, next what it starts next.
//
// What is tried and did not run to its gate can say nothing itself. All that is known is whether the boot loader has counted a try.
func judge(r Record, running install.Slot, images []install.Image, next install.Slot, now time.Time) (Record, verdict) {
	on := func(slot install.Slot) (sdboot.Counter, bool) {
		for _, i := range images {
			if i.Slot == slot {
				return sdboot.ParseCounter(i.File), true
			}
		}
		return sdboot.Counter{}, false
	}
	if r.Phase != runtime.UpgradePrepared {
		return r, nothing
	}
	if running == r.To {
		return r, trial
	}
	switch c, there := on(r.To); {
	case there && c.Counted && c.Left > 0 && next == r.To:
		return r, nothing // nobody has started the machine since
	case there && c.Counted && c.Left > 0:
		r.Reason = "power was cut before the new system was the one that is started; it has not been tried"
	case there && !c.Counted:
		r.Reason = "it was started, and the machine was switched off or broke off while it was being made permanent"
	case there:
		r.Reason = fmt.Sprintf("the new system was started (%d times) and ended before it could prove itself: its kernel or its first process broke off, hung, or power was cut; "+
			"if it got as far, its log is in the logs of the boot before", c.Done)
	default:
		r.Reason = "power was cut before the new system was complete"
	}
	r.Phase, r.Ended = runtime.UpgradeFailed, now
	return r, settle
}
