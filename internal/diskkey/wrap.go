package diskkey

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"

	"talos.internal/internal/sys/tpm"
)

// wrapped is a text that the TPM opens: for images of one signer, whatever the firmware is, until containers run.
type wrapped struct {
	Sealed *tpm.Sealed `json:"sealedKey"`
	Nonce  []byte      `json:"nonce"`
	Data   []byte      `json:"data"`
}

// Wrap seals a text by the machine's TPM, for a place that has no encryption of its own. It needs what [Keeper.Seals] says.
func (k *Keeper) Wrap(text []byte) ([]byte, error) {
	public, err := k.policyKey()
	if err != nil {
		return nil, fmt.Errorf("seal a text: %w", err)
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails (crypto/rand)
	var w wrapped
	err = k.withTPM(func(t TPM) error {
		s, err := t.Seal(key, tpm.Policy{Key: public})
		w.Sealed = &s
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("seal a text: %w", err)
	}
	gcm, err := newGCM(key)
	if err != nil {
		return nil, fmt.Errorf("seal a text: %w", err)
	}
	w.Nonce = make([]byte, gcm.NonceSize())
	_, _ = rand.Read(w.Nonce) // never fails (crypto/rand)
	w.Data = gcm.Seal(nil, w.Nonce, text, nil)
	out, err := json.Marshal(w)
	if err != nil {
		return nil, fmt.Errorf("seal a text: %w", err)
	}
	return out, nil
}

// Unwrap opens what [Keeper.Wrap] has sealed. Another text is returned as it is.
func (k *Keeper) Unwrap(text []byte) ([]byte, error) {
	var w wrapped
	if err := json.Unmarshal(text, &w); err != nil || w.Sealed == nil {
		return text, nil
	}
	var key []byte
	err := k.withTPM(func(t TPM) (err error) {
		key, err = k.release(t, *w.Sealed)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open a text: %w", err)
	}
	gcm, err := newGCM(key)
	if err == nil && len(w.Nonce) != gcm.NonceSize() {
		err = errors.New("it is damaged")
	}
	if err != nil {
		return nil, fmt.Errorf("open a text: %w", err)
	}
	out, err := gcm.Open(nil, w.Nonce, w.Data, nil)
	if err != nil {
		return nil, fmt.Errorf("open a text: it is damaged: %w", err)
	}
	return out, nil
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
