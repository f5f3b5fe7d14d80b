package kubeconfig

import (
	"errors"
	"fmt"
)

// WithServer returns a kubeconfig whose clusters are reached at another URL, such as that of a published port. Nothing else of it
// changes: certificates are checked as before, so the URL's host has to be in that of the server.
func WithServer(data []byte, server string) ([]byte, error) {
	doc, err := parse(data)
	if err == nil && doc == nil {
		err = errors.New("there is none")
	}
	if err != nil {
		return nil, fmt.Errorf("change the server of a kubeconfig: %w", err)
	}
	for _, e := range elements(doc.Content[0], Clusters) {
		if n := value(e.body, "server"); n != nil {
			setString(n, server)
		}
	}
	return marshal(doc)
}
