package kubeapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// watchLimit is how long the server keeps a watch open; then Follow asks for it again.
const watchLimit = 5 * time.Minute

// Follow calls changed with the objects of a kind that o selects, at first and whenever one of them changes, until ctx ends, which is
// no error, or changed fails. What comes quickly one after the other may be put together.
//
// It lists, then watches from there, and lists again when the server does not remember that far back. An error is the one of the
// first list, or of a later one; the caller tries again after a while. Objects belong to changed.
func (c *Client) Follow(ctx context.Context, k Kind, namespace string, o ListOptions, changed func([]Object) error) error {
	for ctx.Err() == nil {
		items, version, err := c.List(ctx, k, namespace, o)
		if err == nil {
			known := map[string]Object{}
			var order []string
			for _, item := range items {
				known[item.key()] = item
				order = append(order, item.key())
			}
			err = c.watchFrom(ctx, k, namespace, o, version, known, order, changed)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !errors.Is(err, ErrExpired) {
			return err
		}
	}
	return nil
}

func (o Object) key() string { return o.Namespace() + "/" + o.Name() }

// watchFrom tells changed what is known, and keeps watching from version until there is an error.
func (c *Client) watchFrom(ctx context.Context, k Kind, namespace string, o ListOptions, version string, known map[string]Object, order []string, changed func([]Object) error) error {
	tell := func() error {
		all := make([]Object, 0, len(known))
		for _, key := range order {
			if item, ok := known[key]; ok {
				all = append(all, item)
			}
		}
		return changed(all)
	}
	if err := tell(); err != nil {
		return err
	}
	for {
		err := c.watch(ctx, k, namespace, o, version, func(kind string, item Object) error {
			if v, _ := item.Map("metadata")["resourceVersion"].(string); v != "" {
				version = v
			}
			key := item.key()
			switch kind {
			case "BOOKMARK":
				return nil
			case "DELETED":
				delete(known, key)
			default:
				if _, ok := known[key]; !ok {
					order = append(without(order, key), key)
				}
				known[key] = item
			}
			return tell()
		})
		if err != nil {
			return err
		}
	}
}

func without(list []string, s string) []string {
	out := list[:0]
	for _, v := range list {
		if v != s {
			out = append(out, v)
		}
	}
	return out
}

// watch calls event for each event until the server ends the watch, which is no error.
func (c *Client) watch(ctx context.Context, k Kind, namespace string, o ListOptions, version string, event func(kind string, item Object) error) error {
	path, err := c.path(ctx, k, namespace, "")
	if err != nil {
		return err
	}
	// The server ends it in time; if it does not, we do.
	ctx, cancel := context.WithTimeout(ctx, watchLimit+callLimit)
	defer cancel()
	q := o.query()
	q.Set("watch", "true")
	q.Set("resourceVersion", version)
	q.Set("allowWatchBookmarks", "true")
	q.Set("timeoutSeconds", strconv.Itoa(int(watchLimit/time.Second)))
	answer, err := c.send(ctx, http.MethodGet, path, q, "", nil)
	if err != nil {
		return fmt.Errorf("watch %s: %w", k, err)
	}
	defer func() { _ = answer.Body.Close() }()
	decoder := json.NewDecoder(answer.Body)
	for {
		var e struct {
			Type   string
			Object json.RawMessage
		}
		switch err := decoder.Decode(&e); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("watch %s: %w", k, plain(err))
		}
		if e.Type == "ERROR" {
			return fmt.Errorf("watch %s: %w", k, statusError(http.StatusInternalServerError, e.Object))
		}
		var item Object
		if err := json.Unmarshal(e.Object, &item); err != nil {
			return fmt.Errorf("watch %s: %w", k, err)
		}
		if err := event(e.Type, item); err != nil {
			return err
		}
	}
}
