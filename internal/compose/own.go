package compose

import "context"

// BuildOwn builds programs of this source tree itself, as a result like that of any component. c names the result and the
// module. It is always done: what has not changed comes from the cache of the go command. Commit and time of the source are
// stamped where it is a checkout.
func (b *Builder) BuildOwn(ctx context.Context, c Component, programs ...Program) error {
	unlock, err := b.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	recipe := Recipe{Name: c.Name, Dir: "..", VCS: true, Programs: programs}
	return b.buildOne(ctx, state{component: c, recipe: recipe, reason: "a program of this source tree"}, newProgress(b.Log, 1))
}
