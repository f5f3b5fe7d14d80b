package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// account is where a pod has the account that it talks to the Kubernetes API as.
const account = "/var/run/secrets/kubernetes.io/serviceaccount"

// transport trusts the authority of the cluster.
var transport = sync.OnceValues(func() (*http.Transport, error) {
	ca, err := os.ReadFile(filepath.Join(account, "ca.crt"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, errors.New("the pod's account has no authority")
	}
	return &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}, nil
})

// call asks the Kubernetes API at $API_SERVER, as the pod's account, within 5 s.
func call(ctx context.Context, method, path string, body, out any) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	t, err := transport()
	if err != nil {
		return err
	}
	token, err := os.ReadFile(filepath.Join(account, "token"))
	if err != nil {
		return err
	}
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, method, "https://"+os.Getenv("API_SERVER")+path, bytes.NewReader(data))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	r.Header.Set("Content-Type", "application/json")
	reply, err := t.RoundTrip(r)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	if reply.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s", method, path, reply.Status)
	}
	if out == nil {
		_, err = io.Copy(io.Discard, reply.Body)
		return err
	}
	return json.NewDecoder(reply.Body).Decode(out)
}

// write makes ConfigMaps written-1, written-2 and so on in the namespace $NAMESPACE, one after the other until its context ends. It
// prints a line for each that was acknowledged, with the milliseconds since the last that was, and for each error. A number that was
// not acknowledged is not tried again: nobody knows whether it is there.
func write(ctx context.Context) error {
	type meta struct {
		Name string `json:"name"`
	}
	last := time.Now()
	for n := 1; ctx.Err() == nil; n++ {
		err := call(ctx, http.MethodPost, "/api/v1/namespaces/"+os.Getenv("NAMESPACE")+"/configmaps", struct {
			Metadata meta `json:"metadata"`
		}{meta{fmt.Sprintf("written-%d", n)}}, nil)
		if err != nil {
			fmt.Printf("error %d: %v\n", n, err)
		} else {
			fmt.Printf("acknowledged %d %d\n", n, time.Since(last).Milliseconds())
			last = time.Now()
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	return nil
}
