package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"talos.internal/api/machinepb"
	"talos.internal/client"
	"talos.internal/internal/node"
	"talos.internal/secret"
)

// verifyLimit is how long a question may take. containerd waits for a minute.
const verifyLimit = 50 * time.Second

// verifierProgram answers containerd, which starts it for each image that is pulled for a pod (containerd's docs/image-verification.md):
// by its exit code, 0 to let it be used, and a line with the reason.
func verifierProgram(args []string, out io.Writer) int {
	ctx, cancel := context.WithTimeoutCause(context.Background(), verifyLimit, fmt.Errorf("no answer after %v", verifyLimit))
	defer cancel()
	c, err := client.NewLocal(node.MachineSocket, secret.RoleImageVerifier)
	if err != nil {
		return refuse(out, err)
	}
	defer c.Close() // the process ends
	reason, err := verifyImage(args, func(ref string) (*machinepb.ImageServiceVerifyResponse, error) {
		return c.Images().Verify(ctx, &machinepb.ImageServiceVerifyRequest{ImageRef: ref})
	})
	if err != nil {
		return refuse(out, err)
	}
	fmt.Fprintln(out, reason) // nobody is there to be told that this failed
	return 0
}

func refuse(out io.Writer, err error) int {
	fmt.Fprintln(out, err)
	return 1
}

// verifyImage asks about the image that containerd's arguments name, and returns why it may be used. The error is why it may not.
//
// containerd pulls the digest that it was told. What was verified is what the name meant a moment later: if that is another digest, the
// name has changed in between, and the image is not used.
func verifyImage(args []string, ask func(ref string) (*machinepb.ImageServiceVerifyResponse, error)) (string, error) {
	f := flag.NewFlagSet("image-verifier", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	name := f.String("name", "", "the image's name")
	digest := f.String("digest", "", "the digest that is to be pulled")
	f.String("stdin-media-type", "", "what standard input has; it is not read")
	if err := f.Parse(args); err != nil {
		return "", err
	}
	if *name == "" || *digest == "" {
		return "", errors.New("-name and -digest must be given: containerd starts this program")
	}
	answer, err := ask(*name)
	if err != nil {
		return "", fmt.Errorf("verify %s: %w", *name, err)
	}
	if !answer.GetVerified() {
		return "", errors.New(answer.GetMessage())
	}
	if _, verified, ok := strings.Cut(answer.GetDigestedImageRef(), "@"); ok && verified != *digest {
		return "", fmt.Errorf("%s meant %s when it was pulled and %s when it was verified; pull it again", *name, *digest, verified)
	}
	return answer.GetMessage(), nil
}
