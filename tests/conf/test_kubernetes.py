"""The manifests: valid against Kubernetes' schemas, and each promise of their comments kept."""

from __future__ import annotations

import copy
import re
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from twisted.trial.unittest import SynchronousTestCase

import micronode
from micronode.config.address import ListenAddress
from micronode.config.schema import KEYS
from micronode.config.sources import load
from tests.cli.processes import Program
from tests.conf.manifests import (
    FOLDER,
    KUSTOMIZATION,
    NEWEST,
    OLDEST,
    TOML,
    MountedFile,
    StrictLoader,
    names,
    parse,
    places,
    read,
    seconds,
    validate,
)
from tests.support.tools import require_tool

#: Maps whose keys are the writer's own, which no schema can know.
_FREE = frozenset({"annotations", "data", "labels", "limits", "matchLabels", "requests"})
#: What cancelled calls get, and what the log's last lines get, beside grace and deadline.
_REST_S = 1 + 1
_SLACK_S = 10
#: Of a kustomization.
_FIELDS = {"apiVersion", "kind", "resources", "configMapGenerator", "labels", "images"}


class SchemaTests(SynchronousTestCase):
    def test_each_is_in_order(self) -> None:
        self.assertGreaterEqual(
            set(names()),
            {"deployment.yaml", "poddisruptionbudget.yaml", "networkpolicy.yaml"},
        )
        for name in names():
            for version in (OLDEST, NEWEST):
                validate(read(name), version)

    def test_a_misspelled_key_is_refused_wherever_it_stands(self) -> None:
        """So validation is strict at every depth, and none of our fields is ignored by a cluster."""
        tried = 0
        for name in names():
            document = read(name)
            for *path, key in places(document):
                if _FREE & set(path) or not path:
                    continue
                mistaken = copy.deepcopy(document)
                at = mistaken
                for step in path:
                    at = at[step]
                at[f"{key}x"] = at.pop(key)  # type: ignore[call-overload]
                with self.assertRaises(kubernetes_validate.ValidationError, msg=f"{name}: {path} {key}"):
                    validate(mistaken)
                tried += 1
        self.assertGreater(tried, 80)

    def test_a_wrong_value_is_refused(self) -> None:
        for path, value in (
            (("spec", "replicas"), "two"),
            (("spec", "template", "spec", "terminationGracePeriodSeconds"), "45s"),
            (("spec", "template", "spec", "containers"), {}),
            (("spec", "template", "spec", "enableServiceLinks"), "no"),
        ):
            document = read("deployment.yaml")
            at: Any = document
            for step in path[:-1]:
                at = at[step]
            at[path[-1]] = value
            with self.assertRaises(kubernetes_validate.ValidationError, msg=str(path)):
                validate(document)

    def test_a_key_twice_is_refused(self) -> None:
        text = (FOLDER / "deployment.yaml").read_text("utf-8")
        with self.assertRaises(yaml.YAMLError):
            parse(text.replace("  replicas: 2\n", "  replicas: 2\n  replicas: 3\n"))


class KustomizationTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.kustomization = read(KUSTOMIZATION)

    def test_its_fields(self) -> None:
        """No schema of it is to be had offline: the fields it uses are these."""
        self.assertLessEqual(set(self.kustomization), _FIELDS)
        self.assertEqual(self.kustomization["kind"], "Kustomization")
        for image in self.kustomization["images"]:
            self.assertLessEqual(set(image), {"name", "newName", "newTag", "digest"})

    def test_it_makes_the_configuration_of_the_file(self) -> None:
        """Under a name that stays: a pod that runs sees a file change only if it is the same ConfigMap's."""
        (generator,) = self.kustomization["configMapGenerator"]
        self.assertEqual(set(generator), {"name", "files", "options"})
        self.assertEqual(generator["files"], [TOML.name])
        self.assertEqual(set(generator["options"]), {"disableNameSuffixHash", "labels"})
        self.assertIs(generator["options"]["disableNameSuffixHash"], True)

    def test_kubectl_makes_the_manifests_of_it(self) -> None:
        done = subprocess.run(
            [require_tool("kubectl"), "kustomize", str(FOLDER)], capture_output=True, timeout=60, check=True
        )
        made = {each["kind"]: each for each in yaml.load_all(done.stdout, StrictLoader)}
        self.assertEqual(len(made), len(names()) + 1)
        for document in made.values():
            validate(document)
        config_map = made["ConfigMap"]
        self.assertEqual(config_map["data"], {TOML.name: TOML.read_text("utf-8")})
        volumes = made["Deployment"]["spec"]["template"]["spec"]["volumes"]
        self.assertIn(
            config_map["metadata"]["name"], [each.get("configMap", {}).get("name") for each in volumes]
        )

    def test_it_has_every_manifest(self) -> None:
        self.assertEqual(sorted(self.kustomization["resources"]), names())

    def test_its_images_are_those_of_the_pod(self) -> None:
        images = {each["name"]: each["newTag"] for each in self.kustomization["images"]}
        pod = read("deployment.yaml")["spec"]["template"]["spec"]
        used = dict(each["image"].rsplit(":", 1) for each in (*pod["initContainers"], *pod["containers"]))
        self.assertEqual(images, used)
        self.assertEqual(images["registry.example/micronode"], micronode.__version__)


class PodTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.deployment = read("deployment.yaml")["spec"]
        self.pod = self.deployment["template"]["spec"]
        (self.node,) = self.pod["initContainers"]
        (self.app,) = self.pod["containers"]
        (self.config_map,) = read(KUSTOMIZATION)["configMapGenerator"]

    def config(self) -> Any:
        return load(environ={}, path=str(TOML), to_run=True).config

    def test_two_pods_that_replace_each_other_one_by_one(self) -> None:
        self.assertEqual(self.deployment["replicas"], 2)
        self.assertEqual(self.deployment["strategy"]["rollingUpdate"], {"maxSurge": 1, "maxUnavailable": 0})

    def test_the_node_is_a_sidecar_that_starts_first(self) -> None:
        self.assertEqual(self.node["name"], "micronode")
        self.assertEqual(self.node["restartPolicy"], "Always")
        self.assertIn("startupProbe", self.node)
        self.assertIn("replace-with-your-app", self.app["name"])

    def test_everything_selects_this_pod(self) -> None:
        labels = self.deployment["template"]["metadata"]["labels"]
        budget, policy = read("poddisruptionbudget.yaml")["spec"], read("networkpolicy.yaml")["spec"]
        spread = self.pod["topologySpreadConstraints"][0]["labelSelector"]
        for selector in (self.deployment["selector"], budget["selector"], policy["podSelector"], spread):
            self.assertLessEqual(selector["matchLabels"].items(), labels.items())
            self.assertTrue(selector["matchLabels"])

    def test_budget(self) -> None:
        """It lets go of one pod, and keeps one."""
        budget = read("poddisruptionbudget.yaml")["spec"]
        self.assertEqual(budget["maxUnavailable"], 1)
        self.assertGreater(self.deployment["replicas"], budget["maxUnavailable"])
        self.assertEqual(budget["unhealthyPodEvictionPolicy"], "AlwaysAllow")

    def test_only_the_application_can_be_reached(self) -> None:
        """By a port that its container has, and by nothing that the node has."""
        (rule,) = read("networkpolicy.yaml")["spec"]["ingress"]
        named = {each["name"] for each in self.app["ports"]}
        self.assertEqual({each["port"] for each in rule["ports"]}, named)
        self.assertNotIn("ports", self.node)
        self.assertNotIn("hostNetwork", self.pod)
        self.assertNotIn("hostPort", str(self.pod))

    def test_no_token_no_variables_no_shared_processes(self) -> None:
        self.assertIs(self.pod["automountServiceAccountToken"], False)
        self.assertIs(self.pod["enableServiceLinks"], False)
        # The hook and a reload signal process 1, which must be the node.
        self.assertNotIn("shareProcessNamespace", self.pod)

    def test_nothing_is_privileged(self) -> None:
        pod = self.pod["securityContext"]
        self.assertEqual(pod["seccompProfile"], {"type": "RuntimeDefault"})
        self.assertIs(pod["runAsNonRoot"], True)
        self.assertGreater(pod["runAsUser"], 10_000)
        self.assertEqual(pod["fsGroup"], pod["runAsGroup"])
        for container in (self.node, self.app):
            context = container["securityContext"]
            self.assertEqual(context["capabilities"], {"drop": ["ALL"]})
            self.assertIs(context["readOnlyRootFilesystem"], True)
            self.assertIs(context["runAsNonRoot"], True)
            self.assertIs(context["allowPrivilegeEscalation"], False)
            self.assertIs(context["privileged"], False)
            # One user for both, or the sockets could not be shared.
            self.assertNotIn("runAsUser", context)

    def test_resources(self) -> None:
        for container in (self.node, self.app):
            self.assertEqual(set(container["resources"]["requests"]), {"cpu", "memory"})
            self.assertEqual(set(container["resources"]["limits"]), {"memory"})

    def test_volumes(self) -> None:
        """Each mount has its volume; what can be written is memory; the configuration is no subPath."""
        volumes = {each["name"]: each for each in self.pod["volumes"]}
        for container in (self.node, self.app):
            for mount in container["volumeMounts"]:
                self.assertIn(mount["name"], volumes)
                self.assertNotIn("subPath", mount)
        writable = [each for each in self.node["volumeMounts"] if not each.get("readOnly")]
        self.assertEqual([each["name"] for each in writable], ["sockets"])
        self.assertEqual(volumes["sockets"]["emptyDir"]["medium"], "Memory")
        self.assertIn("sizeLimit", volumes["sockets"]["emptyDir"])
        self.assertEqual(volumes["config"]["configMap"]["name"], self.config_map["name"])

    def test_the_file_is_where_the_node_looks(self) -> None:
        (variable,) = self.node["env"]
        (mount,) = (each for each in self.node["volumeMounts"] if each["name"] == "config")
        self.assertEqual(variable["name"], "MICRONODE_CONFIG")
        folder, _, name = variable["value"].rpartition("/")
        self.assertEqual(folder, mount["mountPath"])
        self.assertIn(name, self.config_map["files"])
        self.assertEqual(self.node["args"], ["run"])
        self.assertNotIn("command", self.node)

    def test_the_node_and_the_application_meet(self) -> None:
        config = self.config()
        said = {each["name"]: each["value"] for each in self.app["env"]}
        self.assertEqual(said, {"EDGE_HTTP": f"http://{config.http.listen}", "EDGE_OAP": config.oap.listen})
        folder = ListenAddress.parse(config.oap.listen).path.rpartition("/")[0]
        for container in (self.node, self.app):
            mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
            self.assertEqual(mounts["sockets"], folder)

    def test_listeners_are_what_this_release_binds(self) -> None:
        config = self.config()
        for section in (config.http, config.oap, config.admin):
            self.assertTrue(ListenAddress.parse(section.listen).is_local, section)

    def test_probes(self) -> None:
        """Programs, for the admin plane is on loopback; liveness knows nothing of readiness."""
        live, ready = ["micronode", "status", "--live", "--quiet"], ["micronode", "status", "--quiet"]
        for name, command in (("startupProbe", live), ("livenessProbe", live), ("readinessProbe", ready)):
            probe = self.node[name]
            self.assertEqual(probe["exec"], {"command": command})
            self.assertGreater(probe["timeoutSeconds"], 5)
        # They ask where a node is by default.
        self.assertEqual(self.config().admin.listen, KEYS["admin.listen"].default)

    def test_there_is_time_for_the_drain(self) -> None:
        grace, deadline = seconds()
        needed = grace + deadline + _REST_S
        self.assertGreaterEqual(self.pod["terminationGracePeriodSeconds"], needed + _SLACK_S)
        # The sum in the comment is the sum.
        text = (FOLDER / "deployment.yaml").read_text("utf-8")
        found = re.search(r"grace (\d+) s \+ drain\.deadline (\d+) s .*?= (\d+) s;", text.replace("\n", " "))
        assert found is not None
        self.assertEqual([float(each) for each in found.groups()], [grace, deadline, needed])

    def test_the_hook_signals_once_and_then_waits(self) -> None:
        hook = self.node["lifecycle"]["preStop"]["exec"]["command"]
        self.assertEqual(hook[:2], ["/bin/sh", "-c"])
        self.assertEqual(hook[2].count("kill"), 1)
        self.assertTrue(hook[2].endswith("&& exec sleep infinity"))


class MountedFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.mounted = MountedFile(Path(self.mktemp()).absolute())
        self.text = TOML.read_text("utf-8")
        self.mounted.publish(self.text)

    def test_check_takes_it(self) -> None:
        check = Program(self, "check", str(self.mounted.path))
        self.assertEqual(check.end(), 0, check.complained)
        self.assertIn(b"configuration in order", check.printed)

    def test_check_refuses_a_mistake_in_it(self) -> None:
        self.mounted.publish(
            self.text.replace("deadline =", "dedline =").replace("127.0.0.1:5310", "0.0.0.0:5310")
        )
        check = Program(self, "check", str(self.mounted.path))
        self.assertEqual(check.end(), 78)
        self.assertIn("did you mean deadline?", check.complained)
        self.assertIn("http.listen", check.complained)
