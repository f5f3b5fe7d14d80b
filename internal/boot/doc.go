// Package boot is what PID 1 does before the controllers run and after they have ended.
//
// A plan is a list of steps as data, each with a description of one line and an [Action]. [Plan] decides from [Facts] what
// precedes the controllers, [StopPlan] from a [Cause] what follows them; both are pure. [Run] carries a plan out over a
// [Host], which is the kernel through small interfaces. Everything between the two is a controller's business.
//
// A [Mode] is what kind of machine this is. What a mode cannot do is one table, [Mode.Check]. [Emergency] is the one way
// on which PID 1 ends unasked.
//
// The package starts no services and reads no machine config. PID 1 and the controllers may import it.
package boot
