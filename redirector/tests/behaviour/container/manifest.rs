//! deploy/kubernetes.yaml: what it says in the types of Kubernetes, and what a node makes of it.

use std::{fs, os::unix::fs::symlink, path::Path};

use caps::CapsHashSet;
use k8s_openapi::{
    api::{
        apps::v1::DaemonSet,
        core::v1::{ConfigMap, Container, HTTPGetAction, Namespace, PodSpec, ServiceAccount},
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use redirector::{config, settings::MetricsListen};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::support::{
    confined::{Bind, Confinement},
    files::Directory,
    seccomp,
};

const TEXT: &str = include_str!("../../../../deploy/kubernetes.yaml");

/// What the manifest makes.
pub struct Manifest {
    namespace: Namespace,
    account: ServiceAccount,
    config: ConfigMap,
    daemon_set: DaemonSet,
}

impl Manifest {
    /// Reads it.
    pub fn read() -> Self {
        let documents: Vec<Value> = serde_saphyr::from_multiple(TEXT).expect("it is YAML");
        let [namespace, account, config, daemon_set] = documents.try_into().expect("it makes four things");
        Self {
            namespace: strict(namespace),
            account: strict(account),
            config: strict(config),
            daemon_set: strict(daemon_set),
        }
    }

    fn pod(&self) -> &PodSpec {
        let spec = self.daemon_set.spec.as_ref().expect("it says what it is");
        spec.template.spec.as_ref().expect("it says what its pods are")
    }

    fn container(&self) -> &Container {
        let [container] = &self.pod().containers[..] else { panic!("not one container") };
        container
    }

    /// The arguments of the agent.
    pub fn arguments(&self) -> &[String] {
        assert_eq!(self.container().command, None, "the image's entry point stays");
        self.container().args.as_deref().unwrap_or_default()
    }

    /// The capabilities that a container runtime gives it: none of its own choice, and those that are added.
    pub fn capabilities(&self) -> CapsHashSet {
        let context = self.container().security_context.as_ref().expect("it has one");
        let capabilities = context.capabilities.as_ref().expect("it names capabilities");
        assert_eq!(capabilities.drop.as_deref(), Some(&["ALL".to_owned()][..]));
        let added = capabilities.add.iter().flatten();
        added.map(|name| format!("CAP_{name}").parse().expect("a capability")).collect()
    }

    /// What a container runtime makes of it, with these volumes.
    pub fn confinement(&self, image: Vec<Bind>, volumes: &Volumes) -> Confinement {
        let context = self.container().security_context.as_ref().expect("it has one");
        assert_eq!(context.privileged, Some(false));
        assert_eq!(context.allow_privilege_escalation, Some(false));
        assert_eq!(context.read_only_root_filesystem, Some(true));
        let pod = self.pod().security_context.as_ref().expect("the pod has one");
        let profile = pod.seccomp_profile.as_ref().map(|profile| &*profile.type_);
        assert_eq!(profile, Some("RuntimeDefault"));
        assert_eq!(self.pod().host_pid, None);
        Confinement {
            capabilities: self.capabilities(),
            calls: seccomp::refuse(REFUSED),
            no_writable_code: false,
            own_processes: true,
            own_tmp: false,
            files: image.into_iter().chain(volumes.mounts(self)).collect(),
        }
    }
}

/// What the default profiles of containerd and Docker refuse to a container with the agent's capabilities; `bpf` is
/// not among it, for CAP_BPF.
const REFUSED: &[&str] = &[
    "acct",
    "add_key",
    "clock_settime",
    "delete_module",
    "fanotify_init",
    "finit_module",
    "init_module",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "kexec_load",
    "keyctl",
    "mount",
    "open_by_handle_at",
    "pivot_root",
    "quotactl",
    "reboot",
    "request_key",
    "setns",
    "settimeofday",
    "swapon",
    "syslog",
    "umount2",
    "unshare",
    "userfaultfd",
    "vhangup",
];

/// The volumes of a pod on a node.
pub struct Volumes {
    config: Directory,
    state: Directory,
}

impl Volumes {
    /// The ConfigMap as the kubelet lays it out, and an empty directory of the node.
    pub fn new(manifest: &Manifest) -> Self {
        let volumes = Self { config: Directory::new(), state: Directory::new() };
        let directory = volumes.config.path();
        for (name, text) in manifest.config.data.iter().flatten() {
            volumes.config.write(&format!("..2026_11_26_12_00_00.1/{name}"), text);
            symlink(Path::new("..data").join(name), directory.join(name)).expect("link a file");
        }
        symlink("..2026_11_26_12_00_00.1", directory.join("..data")).expect("link the files");
        volumes
    }

    fn mounts(&self, manifest: &Manifest) -> Vec<Bind> {
        let volumes = manifest.pod().volumes.as_deref().unwrap_or_default();
        let mounts = manifest.container().volume_mounts.iter().flatten();
        let bind = |mount: &k8s_openapi::api::core::v1::VolumeMount| {
            let volume =
                volumes.iter().find(|volume| volume.name == mount.name).expect("there is such a volume");
            let source = match (&volume.config_map, &volume.host_path) {
                (Some(map), None) => {
                    assert_eq!(Some(&map.name), manifest.config.metadata.name.as_ref());
                    &self.config
                }
                (None, Some(_)) => &self.state,
                _ => panic!("not known: {volume:?}"),
            };
            Bind {
                source: source.path().to_owned(),
                target: (&*mount.mount_path).into(),
                writable: mount.read_only != Some(true),
            }
        };
        mounts.map(bind).collect()
    }
}

/// A document as one of Kubernetes' types, which must know every field and value of it.
#[track_caller]
fn strict<T: Serialize + DeserializeOwned>(document: Value) -> T {
    let read: T = serde_json::from_value(document.clone()).expect("it is of its type");
    let mut unknown = Vec::new();
    compare("", &document, &serde_json::to_value(&read).expect("it can be written"), &mut unknown);
    assert_eq!(unknown, Vec::<String>::new(), "what Kubernetes does not know, or means otherwise");
    read
}

/// Where a document says what has not been read of it.
fn compare(path: &str, document: &Value, read: &Value, unknown: &mut Vec<String>) {
    match (document, read) {
        (Value::Object(document), Value::Object(read)) => {
            for (key, value) in document {
                compare(&format!("{path}/{key}"), value, read.get(key).unwrap_or(&Value::Null), unknown);
            }
        }
        (Value::Array(document), Value::Array(read)) if document.len() == read.len() => {
            for (index, (value, read)) in document.iter().zip(read).enumerate() {
                compare(&format!("{path}/{index}"), value, read, unknown);
            }
        }
        _ if document == read => {}
        _ => unknown.push(format!("{path}: {document}")),
    }
}

#[test]
fn the_manifest_is_what_kubernetes_knows_and_fits_together() {
    let manifest = Manifest::read();
    let namespace = manifest.namespace.metadata.name.as_ref();
    for of in [&manifest.account.metadata, &manifest.config.metadata, &manifest.daemon_set.metadata] {
        assert_eq!(of.namespace.as_ref(), namespace);
    }
    let spec = manifest.daemon_set.spec.as_ref().expect("it says what it is");
    let labels = &spec.template.metadata.as_ref().expect("pods have labels").labels;
    assert_eq!(&spec.selector.match_labels, labels);
    let update = spec.update_strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
    let update = update.expect("pods are replaced one after the other");
    assert_eq!(update.max_surge, Some(IntOrString::Int(0)), "two agents cannot share a node");
    assert_eq!(update.max_unavailable, Some(IntOrString::Int(1)));
    let pod = manifest.pod();
    assert_eq!(pod.service_account_name, manifest.account.metadata.name);
    assert_eq!(pod.host_network, Some(true));
    assert_eq!(pod.automount_service_account_token, Some(false), "it asks the API server for nothing");
    assert_eq!(manifest.account.automount_service_account_token, Some(false));
    let [toleration] = pod.tolerations.as_deref().unwrap_or_default() else { panic!("not one toleration") };
    assert_eq!(
        (toleration.operator.as_deref(), &toleration.key),
        (Some("Exists"), &None),
        "it is on every node"
    );
}

#[test]
fn the_manifest_agrees_with_the_agents_configuration() {
    let manifest = Manifest::read();
    let volumes = Volumes::new(&manifest);
    let [run, flag, file] = manifest.arguments() else { panic!("not three arguments") };
    assert_eq!([run.as_str(), flag], ["run", "--config"]);
    let mounts = volumes.mounts(&manifest);
    let find =
        |path: &Path| mounts.iter().find(|bind| path.starts_with(&bind.target)).expect("it is mounted");
    let config = find(Path::new(file));
    assert!(!config.writable);
    let name = Path::new(file).strip_prefix(&config.target).expect("it is there");
    let settings = config::read(Some(&config.source.join(name))).expect("the agent takes the ConfigMap");
    assert!(!settings.interfaces.include.is_empty(), "an agent needs an interface");
    assert!(find(&settings.state_dir).writable);
    assert_eq!(fs::read_dir(volumes.state.path()).expect("list it").count(), 0);
    let container = manifest.container();
    for probe in [&container.startup_probe, &container.liveness_probe, &container.readiness_probe] {
        let asked = probe.as_ref().and_then(|probe| probe.http_get.as_ref()).expect("a probe by HTTP");
        let HTTPGetAction { host, port, .. } = asked;
        let IntOrString::Int(port) = port else { panic!("not a number: {port:?}") };
        let address = format!("{}:{port}", host.as_deref().expect("not the node's address"));
        assert_eq!(settings.metrics_listen, MetricsListen::At(address.parse().expect("an address and port")));
    }
}
