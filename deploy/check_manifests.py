"""What can be wrong in deploy/ without a cluster: schemas, and what no schema sees, because it stands in two files.

Run by `check`, which installs what this needs. Tells all it finds, and fails if that is anything.
"""

import copy
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import kubernetes_validate
import yaml

DEPLOY = Path(__file__).resolve().parent
KUBERNETES = DEPLOY / "kubernetes"
REPOSITORY = DEPLOY.parent

# The oldest that has preStop.sleep by default, and the newest that kubernetes-validate knows.
KUBERNETES_VERSIONS = ["1.30", "1.37"]

problems = []


def expect(is_right, problem):
    if not is_right:
        problems.append(problem)


def main():
    kustomization = read("kustomization.yaml")
    documents = [read(name) for name in kustomization["resources"]]
    secret = read("secret.example.yaml")
    config = read("config.yaml")
    every_file_is_used(kustomization)
    fits_the_schemas([*documents, secret])
    config_is_valid(secret)
    # What follows relies on the shape of what it reads.
    stop_if_wrong()

    deployment, service, ingress, policy = (
        only(documents, kind) for kind in ["Deployment", "Service", "Ingress", "NetworkPolicy"]
    )
    pod = deployment["spec"]["template"]["spec"]
    sidecar = find_sidecar(pod)
    server = pod["containers"][0]

    one_at_a_time(deployment)
    sidecar_is_native(pod, sidecar)
    ends_in_order(pod, sidecar, server)
    runs_locked_down(pod)
    labels_select_the_pod(deployment, service, policy)
    ports_agree(sidecar, service, ingress, policy, config)
    probes_ask_the_health_port(sidecar)
    upstream_is_the_server(server, config)
    host_is_routed(ingress, config)
    mounts_agree(pod, sidecar, kustomization, secret, config)
    versions_agree(sidecar)
    stop_if_wrong()
    print("deploy: the manifests, the config and the Dockerfile agree")


def stop_if_wrong():
    for problem in problems:
        print(f"deploy: {problem}", file=sys.stderr)
    if problems:
        sys.exit(1)


def read(name):
    try:
        return yaml.load((KUBERNETES / name).read_text(), Loader=NoDuplicates)
    except yaml.YAMLError as error:
        sys.exit(f"deploy: {name}: {error}")


class NoDuplicates(yaml.SafeLoader):
    """PyYAML takes the last of two equal keys without a word."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value]
        if len(keys) != len(set(keys)):
            raise yaml.YAMLError(f"a key stands twice among {keys} {node.start_mark}")
        return super().construct_mapping(node, deep)


def only(documents, kind):
    [found] = [document for document in documents if document["kind"] == kind]
    return found


def find_sidecar(pod):
    [found] = [
        container
        for container in pod.get("initContainers", []) + pod["containers"]
        if repository_and_tag(container["image"])[0].endswith("/mcp-doorman")
    ]
    return found


def repository_and_tag(image):
    repository, _, tag = image.rpartition(":")
    return repository, tag


def every_file_is_used(kustomization):
    used = {"kustomization.yaml", "secret.example.yaml", *kustomization["resources"]}
    used |= set(kustomization["configMapGenerator"][0]["files"])
    found = {path.name for path in KUBERNETES.iterdir()}
    expect(found == used, f"kubernetes/: files that kustomization.yaml does not name, or lacks: {found ^ used}")


def fits_the_schemas(documents):
    for version in KUBERNETES_VERSIONS:
        for document in documents:
            complaint = schema_complaint(document, version)
            expect(complaint is None, f"{document['kind']}, Kubernetes {version}: {complaint}")
            misspelled = copy.deepcopy(document)
            misspelled["metadata"]["lables"] = {}
            expect(schema_complaint(misspelled, version), "the schemas let an unknown field pass")


def schema_complaint(document, version):
    try:
        used = kubernetes_validate.validate(document, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return f"{'.'.join(map(str, error.path))}: {error.message}"
    # It falls back to an older version without a word.
    return None if used == version else f"checked against {used} instead"


def one_at_a_time(deployment):
    spec = deployment["spec"]
    expect(spec["replicas"] == 1, "Deployment: state is in a file of one pod, so there can be one replica only")
    expect(spec["strategy"] == {"type": "Recreate"}, "Deployment: another strategy has two pods for a while")


def sidecar_is_native(pod, sidecar):
    is_native = sidecar in pod.get("initContainers", []) and sidecar.get("restartPolicy") == "Always"
    expect(is_native, "mcp-doorman is not a native sidecar: an init container with restartPolicy: Always")


def ends_in_order(pod, sidecar, server):
    sleep = server["lifecycle"]["preStop"]["sleep"]["seconds"]
    drain = int(search(r"finish_within: Duration::from_secs\((\d+)\)", REPOSITORY / "src/server/drain.rs"))
    grace = pod.get("terminationGracePeriodSeconds", 30)
    expect(
        sleep + drain < grace,
        f"the grace period, {grace} s, is not above preStop ({sleep} s) and the drain ({drain} s)",
    )
    program = json.loads(search(r"^ENTRYPOINT (.*)$", DEPLOY / "Dockerfile"))
    command = sidecar["lifecycle"]["preStop"]["exec"]["command"]
    expect(command[:3] == [*program, "drain", "--within"], f"mcp-doorman: its preStop runs {command}")
    expect(
        int(command[3]) <= sleep,
        f"{server['name']}: is stopped after {sleep} s, while mcp-doorman still drains ({command[3]} s)",
    )


def runs_locked_down(pod):
    expect(pod.get("automountServiceAccountToken") is False, "the pod gets a service account token")
    expect(pod["securityContext"].get("runAsNonRoot") is True, "the pod may run as root")
    expect(
        pod["securityContext"].get("seccompProfile") == {"type": "RuntimeDefault"},
        "the pod's seccomp profile is not RuntimeDefault",
    )
    for container in pod["initContainers"] + pod["containers"]:
        name, context = container["name"], container["securityContext"]
        expect(context.get("readOnlyRootFilesystem") is True, f"{name}: the root is writable")
        expect(context.get("allowPrivilegeEscalation") is False, f"{name}: privileges can be gained")
        expect(context.get("capabilities") == {"drop": ["ALL"]}, f"{name}: capabilities are left")
        expect("ports" not in container or "mcp-doorman" in container["image"], f"{name}: has ports")


def labels_select_the_pod(deployment, service, policy):
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    for what, selector in [
        ("Deployment", deployment["spec"]["selector"]["matchLabels"]),
        ("Service", service["spec"]["selector"]),
        ("NetworkPolicy", policy["spec"]["podSelector"]["matchLabels"]),
    ]:
        expect(selector and selector.items() <= labels.items(), f"{what}: selects other pods than ours")


def ports_agree(sidecar, service, ingress, policy, config):
    ports = {port["name"]: port["containerPort"] for port in sidecar["ports"]}
    listening = {
        "http": port_of(config.get("listen", "[::]:8080")),
        "health": port_of(config.get("health", {}).get("listen", "[::]:9090")),
    }
    expect(ports == listening, f"mcp-doorman listens on {listening}, its container names {ports}")
    exposed = search(r"^EXPOSE (.*)$", DEPLOY / "Dockerfile").split()
    expect(exposed == [str(port) for port in ports.values()], f"the Dockerfile exposes {exposed}, not {ports}")

    [service_port] = service["spec"]["ports"]
    expect(service_port["targetPort"] == listening["http"], "Service: does not lead to mcp-doorman's port http")
    for path in ingress["spec"]["rules"][0]["http"]["paths"]:
        backend = path["backend"]["service"]
        expect(backend["name"] == service["metadata"]["name"], "Ingress: names another Service")
        expect(backend["port"] == {"name": service_port["name"]}, "Ingress: names another port than the Service")
    allowed = [port for rule in policy["spec"]["ingress"] for port in rule.get("ports", ["any"])]
    expect(
        allowed == [{"protocol": "TCP", "port": listening["http"]}],
        f"NetworkPolicy: opens {allowed}, not just mcp-doorman's port",
    )
    expect("Ingress" in policy["spec"]["policyTypes"], "NetworkPolicy: does not restrict what comes in")


def port_of(address):
    return int(address.rpartition(":")[2])


def probes_ask_the_health_port(sidecar):
    for probe, path in [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")]:
        asked = sidecar.get(probe, {}).get("httpGet")
        expect(asked == {"path": path, "port": "health"}, f"mcp-doorman: {probe} asks {asked}")


def upstream_is_the_server(server, config):
    for resource in config["resources"]:
        upstream = urlsplit(resource["upstream"])
        command = server.get("command", []) + server.get("args", [])
        options = dict(zip(command, command[1:]))
        expect(upstream.hostname == "127.0.0.1", f"upstream {upstream.hostname} is not this pod's loopback")
        expect(options.get("--host") == upstream.hostname, f"{server['name']}: is not bound to {upstream.hostname}")
        expect(
            options.get("--port") == str(upstream.port),
            f"{server['name']}: listens on {options.get('--port')}, the upstream is {upstream.port}",
        )


def host_is_routed(ingress, config):
    hosts = {urlsplit(resource["url"]).hostname for resource in config["resources"]}
    routed = {rule["host"] for rule in ingress["spec"]["rules"]}
    with_tls = {host for entry in ingress["spec"]["tls"] for host in entry["hosts"]}
    expect(hosts == routed == with_tls, f"resources are at {hosts}, the Ingress has {routed}, TLS for {with_tls}")
    [path] = ingress["spec"]["rules"][0]["http"]["paths"]
    expect((path["path"], path["pathType"]) == ("/", "Prefix"), "Ingress: does not route the whole host name")


def mounts_agree(pod, sidecar, kustomization, secret, config):
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    [generator] = kustomization["configMapGenerator"]
    files, writable = set(), set()
    for mount in sidecar["volumeMounts"]:
        volume = volumes[mount["name"]]
        if "emptyDir" in volume:
            writable.add(mount["mountPath"])
        elif "configMap" in volume:
            expect(volume["configMap"]["name"] == generator["name"], "the pod mounts another ConfigMap")
            files |= {f"{mount['mountPath']}/{name}" for name in generator["files"]}
        else:
            expect(volume["secret"]["secretName"] == secret["metadata"]["name"], "the pod mounts another Secret")
            files |= {f"{mount['mountPath']}/{key}" for key in secret["stringData"]}
    read_by_us = {default_config_path(), config["idp"]["client_secret"]["file"]}
    read_by_us |= {key["file"] for key in config["sealing_keys"]}
    expect(files == read_by_us, f"mounted are {sorted(files)}, mcp-doorman reads {sorted(read_by_us)}")
    written = {config["state"]["dir"], os.path.dirname(config["admin"]["socket"])}
    expect(writable == written, f"it can write to {sorted(writable)}, and writes to {sorted(written)}")
    for container in pod["containers"]:
        theirs = {mount["name"] for mount in container.get("volumeMounts", [])}
        ours = {mount["name"] for mount in sidecar["volumeMounts"]}
        expect(not theirs & ours, f"{container['name']}: mounts what is mcp-doorman's: {theirs & ours}")


def default_config_path():
    help_ = [os.environ["MCP_DOORMAN_BIN"], "serve", "--help"]
    usage = subprocess.run(help_, capture_output=True, text=True, check=True)
    return re.search(r"\[default: (.*)\]", usage.stdout)[1]


def versions_agree(sidecar):
    version = tomllib.loads((REPOSITORY / "Cargo.toml").read_text())["package"]["version"]
    expect(repository_and_tag(sidecar["image"])[1] == version, f"mcp-doorman: the image's tag is not {version}")
    labelled = search(r'image\.version="(.*)"', DEPLOY / "Dockerfile")
    expect(labelled == version, f"the Dockerfile says version {labelled}, Cargo.toml {version}")
    for document in ["Dockerfile", "README.md"]:
        for tag in re.findall(r"/mcp-doorman:(\d\S*)", (DEPLOY / document).read_text()):
            expect(tag == version, f"{document}: names mcp-doorman:{tag}, Cargo.toml has {version}")

    toolchain = tomllib.loads((REPOSITORY / "rust-toolchain.toml").read_text())["toolchain"]["channel"]
    builder, runtime = re.findall(r"^FROM (\S+)", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    expect(builder == f"rust:{toolchain}-slim-bookworm", f"the Dockerfile builds with {builder}, not Rust {toolchain}")
    expect("-debian12:" in runtime, f"the binary is built on Debian 12 (bookworm), but runs on {runtime}")


def config_is_valid(secret):
    text = (KUBERNETES / "config.yaml").read_text()
    keys = {key: os.urandom(32).hex() for key in secret["stringData"]}
    told = told_by_check(text, keys)
    expect(told is None, f"mcp-doorman refuses config.yaml:\n{told}")

    # As the README says how to change the sealing key.
    keys["previous-sealing-key"] = os.urandom(32).hex()
    told = told_by_check(text.replace("# - { file:", "- { file:"), keys)
    expect(told is None, f"mcp-doorman refuses config.yaml with a previous sealing key:\n{told}")

    told = told_by_check(text, secret["stringData"])
    expect(
        told is not None and all(f"{key} is empty" in told for key in secret["stringData"]),
        "secret.example.yaml holds something that works, or fails for another reason than being empty",
    )


def told_by_check(config, secrets):
    """What `mcp-doorman check` complains of when the pod's secret files hold `secrets`; None if it accepts that."""
    with tempfile.TemporaryDirectory() as folder:
        for key, value in secrets.items():
            Path(folder, key).touch(mode=0o600)
            Path(folder, key).write_text(value)
        path = Path(folder, "config.yaml")
        path.write_text(config.replace("/run/secrets/mcp-doorman/", f"{folder}/"))
        checked = subprocess.run(
            [os.environ["MCP_DOORMAN_BIN"], "check", "--config", path], capture_output=True, text=True, check=False
        )
    return None if checked.returncode == 0 else checked.stderr


def search(pattern, path):
    found = re.search(pattern, path.read_text(), re.MULTILINE)
    if found is None:
        sys.exit(f"deploy: {path} has nothing like {pattern}")
    return found[1]


if __name__ == "__main__":
    main()
