package configure

import "testing"

func TestWithoutMarks(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"header", "#! a\n#!\n#! b\nx: 1\n", "x: 1\n"},
		{"comments of the config stay", "#! a\n# kept\nx: |\n  #! content\n", "# kept\nx: |\n  #! content\n"},
		{"header alone", "#! a", ""},
		{"nothing", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(withoutMarks([]byte(tt.text))); got != tt.want {
				t.Errorf("withoutMarks(%q) = %q; want %q", tt.text, got, tt.want)
			}
			if got := string(withoutMarks(append(header("node", "a\nb"), tt.text...))); got != tt.want {
				t.Errorf("withoutMarks(header and %q) = %q; want %q", tt.text, got, tt.want)
			}
		})
	}
}
