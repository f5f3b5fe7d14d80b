// Package eventlog reads what firmware says of its measurements: which events were hashed into which register of the TPM, in their order.
//
// The format is that of the TCG PC Client Platform Firmware Profile Specification, version 1.06, section 10. A log proves nothing by itself: whoever
// could change what was started could change it. It explains a register's value if [Log.Replay] gives that value.
//
// [Log.Marks] are the events of a register in short. They are kept beside what is sealed to the register, so that [Changes] can say later what about the
// firmware is not what it was. The package is pure; internal/diskkey imports it.
package eventlog
