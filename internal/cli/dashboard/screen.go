package dashboard

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"talos.internal/internal/cli/nodes"
	"talos.internal/resource/runtime"
)

// screen is what is shown: the samples of all machines, and what a person has chosen.
type screen struct {
	machines      []string
	samples       map[string]pair
	at            int            // which of the machines
	chosen        map[string]int // which of a machine's services
	width, height int
}

// pair is the last sample and the one before it: the use of the CPU is what lies between.
type pair struct{ before, last Sample }

func newScreen(machines []string) screen {
	return screen{machines: machines, samples: map[string]pair{}, chosen: map[string]int{}, width: 80, height: 24}
}

func (s *screen) machine() string { return s.machines[s.at] }

func (s *screen) put(machine string, sample Sample) {
	p := s.samples[machine]
	if sample.CPUTotal != p.last.CPUTotal {
		p.before = p.last
	}
	p.last = sample
	s.samples[machine] = p
}

// turn goes to another machine.
func (s *screen) turn(by int) { s.at = (s.at + by + len(s.machines)) % len(s.machines) }

// choose goes to another service of the machine.
func (s *screen) choose(by int) {
	n := len(s.samples[s.machine()].last.Services)
	if n > 0 {
		s.chosen[s.machine()] = (s.index(n) + by + n) % n
	}
}

// index is the chosen one of n services; there may be fewer than when it was chosen.
func (s *screen) index(n int) int { return min(s.chosen[s.machine()], max(n-1, 0)) }

// service is the chosen service of a machine, empty as long as its services are not known.
func (s *screen) service(machine string) string {
	list := s.samples[machine].last.Services
	if len(list) == 0 {
		return ""
	}
	return list[min(s.chosen[machine], len(list)-1)].ID
}

// Styles of ECMA-48 (SGR).
const (
	bold    = "\x1b[1m"
	reverse = "\x1b[7m"
	red     = "\x1b[31m"
	green   = "\x1b[32m"
	off     = "\x1b[0m"
)

// styled returns text with a style, which takes no place.
func styled(style, text string) string { return style + text + off }

// fit cuts text at width, and fills it up to it.
func fit(text string, width int) string {
	r := []rune(text)
	if len(r) > width {
		return string(r[:max(width, 0)])
	}
	return text + strings.Repeat(" ", width-len(r))
}

// draw returns the lines of the screen, none wider than it and no more than it has.
func (s *screen) draw() string {
	p := s.samples[s.machine()]
	width := max(s.width, 20)
	var lines []string
	lines = append(lines, s.tabs(width), s.head(p.last, width))
	for _, l := range facts(p.last, width) {
		lines = append(lines, fit(l, width))
	}
	lines = append(lines, bar("CPU", p.cpu(), "", width), memory(p.last, width))
	if why := trouble(p.last); why != "" {
		lines = append(lines, styled(red, fit(why, width)))
	}
	lines = append(lines, strings.Repeat("─", width))
	// Services beside the log.
	left := min(40, width/2)
	services, log := s.services(p.last, left), s.log(p.last, width-left-1)
	rows := max(s.height-len(lines)-1, 1)
	services, log = window(services, rows, s.index(len(p.last.Services))+1), last(log, rows)
	for i := range rows {
		row := fit("", left)
		if i < len(services) {
			row = services[i]
		}
		if i < len(log) {
			row += " " + log[i]
		}
		lines = append(lines, row)
	}
	lines = append(lines, styled(reverse, fit(" q quit   ←→ machine   ↑↓ service", width)))
	if s.height > 0 && len(lines) > s.height {
		lines = lines[:s.height]
	}
	return strings.Join(lines, "\n")
}

// tabs are the machines, the one that is shown set off.
func (s *screen) tabs(width int) string {
	var b strings.Builder
	left := width
	for i, m := range s.machines {
		text := " " + m + " "
		if p, ok := s.samples[m]; ok && p.last.Problem != "" {
			text = " " + m + "! "
		}
		if len(text) > left {
			break
		}
		left -= len(text)
		if i == s.at {
			text = styled(reverse, text)
		}
		b.WriteString(text)
	}
	return b.String()
}

func (s *screen) head(m Sample, width int) string {
	ready, style := "not ready", red
	if m.Ready {
		ready, style = "ready", green
	}
	if m.Stage == "" {
		ready, style = "no answer yet", ""
	}
	uptime := "?"
	if m.Uptime > 0 {
		uptime = m.Uptime.String()
	}
	text := fmt.Sprintf("%s  %s  up %s  load %.2f %.2f %.2f  %s ", cmp.Or(m.Hostname, s.machine()), m.Version, uptime, m.Load[0], m.Load[1], m.Load[2], m.Stage)
	text = fit(nodes.Clean(text), min(len([]rune(text)), width))
	return styled(bold, text) + styled(style, fit(ready, min(len(ready), width-len([]rune(text)))))
}

// facts are lines on what the machine is, and how a person reaches it. What a person has to type or compare is not cut.
func facts(m Sample, width int) []string {
	var lines []string
	text := m.Type
	if len(m.Addresses) > 0 {
		text = strings.TrimSpace(text + "  at " + strings.Join(m.Addresses, ", "))
	}
	if text != "" {
		lines = append(lines, nodes.Clean(text))
	}
	if m.Stage != runtime.StageMaintenance.String() {
		return lines
	}
	if len(m.Addresses) == 0 {
		return append(lines, "It waits for a config, and has no address: is a cable plugged in, and is there a DHCP server?")
	}
	lines = append(lines, "It waits for a config:")
	command := "talosctl apply-config --insecure -n " + nodes.Clean(m.Addresses[0]) + " -f FILE"
	if m.Fingerprint != "" {
		command += " --cert-fingerprint " + nodes.Clean(m.Fingerprint)
	}
	for words := []rune(command); len(words) > 0; {
		n := min(len(words), max(width-2, 1))
		lines = append(lines, "  "+string(words[:n]))
		words = words[n:]
	}
	return lines
}

// cpu is the part of the CPU's time that was used between two samples; negative if it is not known yet.
func (p pair) cpu() float64 {
	total := p.last.CPUTotal - p.before.CPUTotal
	if p.before.CPUTotal == 0 || total <= 0 {
		return -1
	}
	return (p.last.CPUUsed - p.before.CPUUsed) / total
}

func memory(m Sample, width int) string {
	if m.MemoryTotal == 0 {
		return bar("MEM", -1, "", width)
	}
	return bar("MEM", float64(m.MemoryUsed)/float64(m.MemoryTotal), nodes.Bytes(m.MemoryUsed)+" of "+nodes.Bytes(m.MemoryTotal), width)
}

// bar draws a part of one. A negative one is not known.
func bar(name string, part float64, text string, width int) string {
	if part < 0 {
		return fit(name+" …", width)
	}
	part = min(part, 1)
	label := fmt.Sprintf(" %3.0f%% %s", part*100, text)
	room := max(width-len(name)-len(label)-3, 1)
	full := min(int(part*float64(room)+0.5), room)
	return fit(name+" ["+strings.Repeat("█", full)+strings.Repeat("·", room-full)+"]"+label, width)
}

// trouble is what a person should know first.
func trouble(m Sample) string {
	text := m.Problem
	if text == "" && !m.Ready {
		text = strings.Join(m.Unmet, "; ")
	}
	return nodes.Clean(text)
}

func (s *screen) services(m Sample, width int) []string {
	lines := []string{styled(bold, fit("SERVICE          STATE       HEALTH", width))}
	for i, svc := range m.Services {
		text := fit(nodes.Clean(fmt.Sprintf("%-16s %-11s %s", svc.ID, svc.State, svc.Health)), width)
		switch {
		case i == s.index(len(m.Services)):
			text = styled(reverse, text)
		case svc.Health == "Fail" || svc.State == "Failed":
			text = styled(red, text)
		}
		lines = append(lines, text)
	}
	return lines
}

func (s *screen) log(m Sample, width int) []string {
	if m.LogOf == "" {
		return nil
	}
	lines := []string{styled(bold, fit("LOG OF "+nodes.Clean(m.LogOf), width))}
	for _, l := range m.Log {
		lines = append(lines, fit(l, width))
	}
	return lines
}

// window returns n of lines such that the line at is one of them; the first one, which is a heading, always is.
func window(lines []string, n, at int) []string {
	if len(lines) <= n || at < n {
		return lines[:min(n, len(lines))]
	}
	return append(slices.Clone(lines[:1]), lines[at-n+2:at+1]...)
}

// last returns the heading and the last n-1 of the other lines.
func last(lines []string, n int) []string {
	if len(lines) <= n {
		return lines
	}
	return append(slices.Clone(lines[:1]), lines[len(lines)-n+1:]...)
}
