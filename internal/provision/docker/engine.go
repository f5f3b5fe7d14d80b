package docker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/moby/moby/client"

	"talos.internal/internal/provision"
)

// answerLimit bounds the wait for the daemon's first answer.
const answerLimit = 5 * time.Second

// dial returns a client of the daemon, which has answered, and its address. The caller closes the client.
func dial(ctx context.Context, host string) (*client.Client, error) {
	from := []client.Opt{client.FromEnv}
	if host == "" {
		var err error
		if host, err = contextHost(os.Getenv); err != nil {
			return nil, err
		}
	}
	if strings.HasPrefix(host, "ssh://") {
		return nil, fmt.Errorf("the Docker daemon is at %s, which is reached by ssh: %w; make its socket known here (ssh -L) and name that in DOCKER_HOST",
			host, provision.ErrNotSupported)
	}
	if host != "" {
		from = append(from, client.WithHost(host))
	}
	c, err := client.New(from...)
	if err != nil {
		return nil, fmt.Errorf("reach the Docker daemon: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, answerLimit, fmt.Errorf("no answer within %v", answerLimit))
	defer cancel()
	ping, err := c.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true})
	if err == nil && ping.OSType != "" && ping.OSType != "linux" {
		err = fmt.Errorf("%w: it runs containers of %s; switch it to those of Linux", provision.ErrNotSupported, ping.OSType)
	}
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		_ = c.Close() // nothing is under way
		return nil, fmt.Errorf("reach the Docker daemon at %s: %w; is it running, and may this user ask it?", c.DaemonHost(), err)
	}
	return c, nil
}

// Answers returns nil if there is a daemon that answers, and why there is none otherwise.
func Answers(ctx context.Context, o Options) error {
	c, err := dial(ctx, o.Host)
	if err != nil {
		return err
	}
	return c.Close()
}

// contextHost returns the address of the daemon of the chosen context (docker help context); "" if there is none, or if
// $DOCKER_HOST, which goes before it, is set.
func contextHost(getenv func(string) string) (string, error) {
	if getenv("DOCKER_HOST") != "" {
		return "", nil
	}
	dir := getenv("DOCKER_CONFIG")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", nil // nobody's default
		}
		dir = filepath.Join(home, ".docker")
	}
	name := getenv("DOCKER_CONTEXT")
	if name == "" {
		var config struct {
			CurrentContext string `json:"currentContext"`
		}
		if err := readJSON(filepath.Join(dir, "config.json"), &config); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("find Docker's context: %w", err)
		}
		name = config.CurrentContext
	}
	if name == "" || name == "default" {
		return "", nil
	}
	sum := sha256.Sum256([]byte(name))
	var meta struct {
		Endpoints map[string]struct{ Host string }
	}
	if err := readJSON(filepath.Join(dir, "contexts", "meta", hex.EncodeToString(sum[:]), "meta.json"), &meta); err != nil {
		return "", fmt.Errorf("find Docker's context %s: %w", name, err)
	}
	return meta.Endpoints["docker"].Host, nil
}

func readJSON(name string, to any) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, to); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return nil
}
