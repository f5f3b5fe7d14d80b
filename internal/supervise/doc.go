// Package supervise keeps the services of a machine running: it starts them when what they need is there, watches their
// health, restarts what ends, and stops everything in order.
//
// A [Service] is data: how it runs (a [Runner]: a goroutine through [Func], a process through package child), what it needs
// (other services, and [Condition]s), how its health is asked for, what happens when it ends, how long it may take to stop.
// A [Supervisor] holds the services that were loaded and does what it is ordered: Start, Stop, Restart, Shutdown.
//
// Each service is in one [State]. What follows from an order, or from something that was seen, is decided by one pure
// function (step): from a state and an input to the next state and effects. The rest of the package carries effects out.
// At most one activity of a service is under way: it pauses, waits, prepares or runs. An activity that is cancelled is waited
// for before anything else begins, so two instances of one service never meet.
//
// Each change of state or health is an [Event]: kept in the history of the service, and given to every [Subscription]. A
// service is up when it runs and its health is not known to be bad; see [Supervisor.Up].
//
// The package knows no kernel interface: processes, cgroups and limits are the business of a Runner. It does not decide
// who may give an order; it only says which orders a service allows to an operator ([Service.Allow]).
package supervise
