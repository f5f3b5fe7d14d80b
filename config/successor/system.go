package successor

import (
	"path"
	"regexp"
	"strconv"
	"strings"

	"talos.internal/config/blockdoc"
	"talos.internal/config/defaults"
	"talos.internal/config/expr"
	"talos.internal/config/netdoc"
	"talos.internal/config/rootdoc"
	"talos.internal/config/scalar"
	"talos.internal/config/schema"
	"talos.internal/config/sysdoc"
)

// system converts what concerns the operating system, apart from network, disks and registries.
func (v *converter) system() {
	m := v.machine
	v.install()
	if len(m.Env) > 0 {
		v.add(&sysdoc.EnvironmentConfig{Variables: m.Env})
	}
	if len(m.Sysctls) > 0 {
		v.add(&sysdoc.SysctlConfig{Params: m.Sysctls})
	}
	if len(m.Sysfs) > 0 {
		v.add(&sysdoc.SysfsConfig{Params: m.Sysfs})
	}
	if rules := value(m.Udev).Rules; len(rules) > 0 {
		v.add(&sysdoc.UdevRulesConfig{Rules: rules})
	}
	v.modules()
	if len(m.BaseRuntimeSpecOverrides) > 0 {
		v.add(&sysdoc.CRIBaseRuntimeSpecConfig{Overrides: m.BaseRuntimeSpecOverrides})
	}
	if cache := value(v.features.ImageCache).LocalEnabled; cache != nil {
		v.add(&sysdoc.ImageCacheConfig{Local: &sysdoc.LocalImageCacheConfig{Enabled: *cache}})
	}
	for i, f := range m.Files {
		if d := fileOf(f); d != nil {
			v.named(d, schema.Index("machine.files", i))
		}
	}
	if v.says("TimeSyncConfig") {
		v.add(timeOf(*m.Time))
	}
	if v.says("DiscoveryIdentityConfig") {
		d := &sysdoc.DiscoveryIdentityConfig{}
		_ = d.ClusterID.UnmarshalText([]byte(v.cluster.ID)) // Validate has reported what is no base64
		_ = d.ClusterSecret.UnmarshalText([]byte(v.cluster.Secret))
		v.add(d)
	}
	v.discovery()
}

// modules converts the kernel's modules; one that is there twice gets the parameters of both.
func (v *converter) modules() {
	docs := map[string]*sysdoc.KernelModuleConfig{}
	for i, m := range value(v.machine.Kernel).Modules {
		if d := docs[m.Name]; d != nil {
			d.Parameters = append(d.Parameters[:len(d.Parameters):len(d.Parameters)], m.Parameters...)
			continue
		}
		docs[m.Name] = &sysdoc.KernelModuleConfig{Name: m.Name, Parameters: m.Parameters}
		v.named(docs[m.Name], schema.Index("machine.kernel.modules", i))
	}
}

func timeOf(t rootdoc.Time) *netdoc.TimeSyncConfig {
	d := &netdoc.TimeSyncConfig{BootTimeout: t.BootTimeout}
	if t.Disabled != nil {
		d.Enabled = new(!*t.Disabled)
	}
	switch {
	case len(t.Servers) == 0:
	case strings.HasPrefix(t.Servers[0], "/dev/"):
		d.PTP = &netdoc.PTP{Devices: t.Servers}
	default:
		d.NTP = &netdoc.NTP{Servers: t.Servers}
	}
	return d
}

// discovery converts the discovery service, if discovery and the service are on.
func (v *converter) discovery() {
	d := value(v.cluster.Discovery)
	service := value(value(d.Registries).Service)
	if !isTrue(d.Enabled) || isTrue(service.Disabled) {
		return
	}
	endpoint := service.Endpoint
	if endpoint.URL.URL == nil {
		_ = endpoint.UnmarshalText([]byte(defaults.DiscoveryEndpoint)) // a constant
	}
	v.named(&sysdoc.DiscoveryServiceConfig{Name: "default", Endpoint: endpoint}, "cluster.discovery")
}

// install converts where the system is installed. What is left out means the same in both forms but for wipe: the old
// form wipes only if it says so.
func (v *converter) install() {
	if !v.says("UnattendedInstallConfig") {
		return
	}
	i := *v.machine.Install
	d := &sysdoc.UnattendedInstallConfig{Provisioning: &sysdoc.InstallProvisioning{Wipe: new(isTrue(i.Wipe))}}
	if i.Image != "" {
		d.Installer = &sysdoc.Installer{Image: i.Image}
	}
	match := ""
	switch {
	case i.Disk != "":
		match = deviceExpression(i.Disk)
	case i.DiskSelector != nil:
		match = diskExpression(i.DiskSelector)
	}
	if match != "" {
		d.Provisioning.DiskSelector = &sysdoc.InstallDiskSelector{Match: expr.DiskSelector(match)}
	}
	v.add(d)
}

// deviceExpression selects the disk with the given path. The paths below /dev/disk are symbolic links.
func deviceExpression(device string) string {
	if strings.HasPrefix(device, "/dev/disk/") {
		return strconv.Quote(device) + " in disk.symlinks"
	}
	return "disk.dev_path == " + strconv.Quote(device)
}

// diskExpression selects the disks that s does. A disk has no name of its own any more: name is compared with the model, of
// which it was a part. Disks that cannot be written to are never meant.
func diskExpression(s *rootdoc.InstallDiskSelector) string {
	var all []string
	if s.Size.Op != "" {
		all = append(all, "disk.size "+s.Size.Op+" "+strconv.FormatUint(s.Size.Size.Bytes, 10)+"u")
	}
	for _, p := range []struct{ variable, pattern string }{
		{"disk.model", s.Name}, {"disk.model", s.Model}, {"disk.serial", s.Serial}, {"disk.modalias", s.Modalias},
		{"disk.uuid", s.UUID}, {"disk.wwid", s.WWID}, {"disk.bus_path", s.BusPath},
	} {
		if p.pattern != "" {
			all = append(all, textExpression(p.variable, p.pattern))
		}
	}
	switch s.Type {
	case "ssd":
		all = append(all, `!disk.rotational && disk.transport != "nvme" && disk.transport != "mmc"`)
	case "hdd":
		all = append(all, "disk.rotational")
	case "nvme":
		all = append(all, `disk.transport == "nvme"`)
	case "sd":
		all = append(all, `disk.transport == "mmc"`)
	}
	return strings.Join(append(all, "!disk.readonly && !disk.cdrom"), " && ")
}

// textExpression compares a variable with a text in which asterisks stand for any characters. Of these expressions only
// regular ones have such a thing.
func textExpression(variable, pattern string) string {
	if !strings.Contains(pattern, "*") {
		return variable + " == " + strconv.Quote(pattern)
	}
	parts := strings.Split(pattern, "*")
	for i, p := range parts {
		parts[i] = regexp.QuoteMeta(p)
	}
	return variable + ".matches(" + strconv.Quote("^"+strings.Join(parts, ".*")+"$") + ")"
}

// fileOf returns the document that succeeds f, or nil: there is one for a part of containerd's configuration, and for a
// file below /etc that is replaced and that no other document makes.
func fileOf(f rootdoc.File) schema.NamedDocument {
	if f.Op == "append" {
		return nil
	}
	if name, ok := strings.CutSuffix(path.Base(f.Path), ".part"); ok && path.Dir(f.Path) == rootdoc.CRIParts {
		return valid(&sysdoc.CRICustomizationConfig{Name: name, Content: f.Content})
	}
	if name, ok := strings.CutPrefix(f.Path, "/etc/"); ok && f.Op == "overwrite" {
		return valid(&sysdoc.EtcFileConfig{Name: name, Mode: nonZero(f.Permissions.Mode), Contents: f.Content})
	}
	return nil
}

// valid returns d, or nil if d has errors of its own.
func valid(d schema.NamedDocument) schema.NamedDocument {
	var report schema.Report
	schema.Validate(d, schema.NewReporter(&report, "", "", nil))
	if report.Err() != nil {
		return nil
	}
	return d
}

// registries converts mirrors, encryption and credentials of image registries.
func (v *converter) registries() {
	g := value(v.machine.Registries)
	for _, host := range sorted(g.Mirrors) {
		m := g.Mirrors[host]
		d := &sysdoc.RegistryMirrorConfig{Name: host, SkipFallback: isTrue(m.SkipFallback)}
		for _, u := range m.Endpoints {
			d.Endpoints = append(d.Endpoints, sysdoc.RegistryEndpoint{URL: u, OverridePath: isTrue(m.OverridePath)})
		}
		v.named(d, schema.Join("machine.registries.mirrors", host))
	}
	for _, host := range sorted(g.Config) {
		at := schema.Join("machine.registries.config", host)
		if t := g.Config[host].TLS; t != nil && rootdoc.IsSet(t) {
			d := &sysdoc.RegistryTLSConfig{Name: host, CA: scalar.CertPEM(t.CA), InsecureSkipVerify: isTrue(t.InsecureSkipVerify)}
			if p := value(t.ClientIdentity); p.Cert != "" {
				d.ClientIdentity = &sysdoc.ClientIdentity{Cert: scalar.CertPEM(p.Cert), Key: scalar.KeyPEM(p.Key)}
			}
			v.named(d, at+".tls")
		}
		if a := g.Config[host].Auth; a != nil && rootdoc.IsSet(a) {
			v.named(&sysdoc.RegistryAuthConfig{
				Name: host, Username: a.Username, Password: a.Password, Auth: a.Auth, IdentityToken: a.IdentityToken,
			}, at+".auth")
		}
	}
}

// disks converts the encryption of the system's volumes, and the disks that become user volumes.
func (v *converter) disks() {
	e := value(v.machine.SystemDiskEncryption)
	for _, volume := range []struct {
		name, key string
		spec      *rootdoc.Encryption
	}{{blockdoc.State, "state", e.State}, {blockdoc.Ephemeral, "ephemeral", e.Ephemeral}} {
		if volume.spec != nil {
			v.named(&blockdoc.VolumeConfig{Name: volume.name, Encryption: encryption(volume.spec)},
				"machine.systemDiskEncryption."+volume.key)
		}
	}
	for i, d := range v.machine.Disks {
		for j, p := range d.Partitions {
			if doc := volumeOf(d.Device, p); doc != nil {
				v.named(doc, schema.Index(schema.Index("machine.disks", i)+".partitions", j))
			}
		}
	}
}

func encryption(e *rootdoc.Encryption) *blockdoc.Encryption {
	d := &blockdoc.Encryption{
		Provider: e.Provider, Cipher: e.Cipher, KeySize: uint(e.KeySize), BlockSize: e.BlockSize, Options: e.Options,
	}
	for _, k := range e.Keys {
		key := blockdoc.EncryptionKey{Slot: int(k.Slot), LockToState: isTrue(k.LockToState)}
		if k.Static != nil {
			key.Static = &blockdoc.StaticKey{Passphrase: k.Static.Passphrase}
		}
		if k.NodeID != nil {
			key.NodeID = &blockdoc.NodeIDKey{}
		}
		if k.KMS != nil {
			key.KMS = &blockdoc.KMSKey{Endpoint: k.KMS.Endpoint}
		}
		if k.TPM != nil {
			key.TPM = &blockdoc.TPMKey{CheckSecureBootStatusOnEnroll: isTrue(k.TPM.CheckSecurebootStatusOnEnroll)}
			if o := k.TPM.Options; o != nil {
				key.TPM.Options = &blockdoc.TPMOptions{PCRs: registers(o.PCRs)}
			}
		}
		d.Keys = append(d.Keys, key)
	}
	return d
}

func registers(pcrs *[]uint8) *[]int {
	if pcrs == nil {
		return nil
	}
	out := make([]int, 0, len(*pcrs))
	for _, p := range *pcrs {
		out = append(out, int(p))
	}
	return &out
}

// volumeOf returns the user volume that succeeds a partition, or nil. A user volume is always mounted below /var/mnt; a
// partition that is mounted elsewhere has none, as pods look for their data where it was.
func volumeOf(device string, p rootdoc.Partition) schema.NamedDocument {
	name, ok := strings.CutPrefix(p.Mountpoint, "/var/mnt/")
	if !ok {
		return nil
	}
	spec := &blockdoc.Provisioning{DiskSelector: &blockdoc.DiskSelector{Match: expr.DiskSelector(deviceExpression(device))}}
	if p.Size.Bytes == 0 {
		spec.Grow = new(true)
	} else {
		spec.MinSize = p.Size
		_ = spec.MaxSize.UnmarshalText([]byte(p.Size.String())) // a size that was read is one
	}
	return valid(&blockdoc.UserVolumeConfig{Name: name, VolumeType: blockdoc.TypePartition, Provisioning: spec})
}
