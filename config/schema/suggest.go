package schema

import "strings"

// Nearest returns the one of names that was probably meant by got, or "" if none is near. Near is a
// Damerau-Levenshtein distance (optimal string alignment) of at most a third of the length, or a difference in
// letter case alone.
func Nearest(got string, names []string) string {
	const longest = 64 // no name is longer; it also bounds the work on hostile input
	if got == "" || len(got) > longest {
		return ""
	}
	low := strings.ToLower(got)
	best, bestDistance := "", max(1, len(got)/3)+1
	for _, name := range names {
		d := distance(low, strings.ToLower(name))
		if d < bestDistance {
			best, bestDistance = name, d
		}
	}
	return best
}

// distance is the optimal string alignment distance of a and b in bytes.
func distance(a, b string) int {
	if len(a) == 0 || len(b) == 0 {
		return max(len(a), len(b))
	}
	before, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, prev, cur = prev, cur, before
	}
	return prev[len(b)]
}
