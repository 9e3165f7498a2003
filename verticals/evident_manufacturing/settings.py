"""The service's own section of the settings: ``[manufacturing.agent]``, what an edge agent needs to know.

It imports nothing of the service: settings are read by programs in which its packages are not installed.
"""

from typing import Literal

from pydantic import Field, SecretStr

from evident_core.settings import Section


class AgentSection(Section):
    """An agent beside a line: where images come from, what they are judged by, and where events go."""

    station: str = Field("", max_length=64, description="The inspection point; part of each event's id. Needed.")
    id: str = Field("", max_length=64, description="Of this agent; empty: the station's name.")
    source: str = Field("", description="A folder, http(s)://… that gives images, or camera:0. Needed.")
    product: str = Field("", max_length=128, description="Of parts whose image does not say.")
    camera: str = Field("", max_length=128, description="The camera's name, for its calibration and the part ids.")
    template: str = Field("", description="Image of the golden sample; empty: the evidence is weaker.")
    specification: str = Field("", description="The product's, YAML; empty: any defect rejects.")
    calibration: str = Field("", description="The camera's certificate; empty: sizes are in pixels.")
    precision: Literal["", "int8", "fp32"] = Field("", description="Empty: int8 where it passed its gates.")
    threads: int = Field(0, ge=0, le=1024, description="Of the runtime; 0: one a core.")
    at_once: int = Field(
        1, ge=1, le=64, description="Images of a folder that are inspected at once where several wait."
    )
    runtime: Literal["onnxruntime", "openvino", "tensorrt"] = Field(
        "onnxruntime", description="What computes the network; the others must be installed."
    )
    models: str = Field("", description="Folder of installed models; empty: in the data folder.")
    outbox: str = Field("", description="SQLite file of events; empty: in the data folder.")
    sink: str = Field(
        "none",
        description="Where events go: http(s)://…, mqtt(s)://HOST, sparkplug(s)://HOST/GROUP, opc.tcp://HOST, or none.",
    )
    pictures_mib: int = Field(
        512, ge=0, description="HTTP: disk for pictures whose events wait, which the pages ask for; 0: none is sent."
    )
    token: SecretStr = Field(SecretStr(""), description="HTTP: the bearer token that the MES asks for.")
    username: str = Field("", description="MQTT and Sparkplug: of the broker.")
    password: SecretStr = Field(SecretStr(""), description="MQTT and Sparkplug: of the broker.")
    ca: str = Field(
        "", description="Certificates to trust in place of the system's; OPC UA: those of clients that are let in."
    )
    certificate: str = Field("", description="MQTT, Sparkplug, OPC UA: this agent's own.")
    key: str = Field("", description="MQTT, Sparkplug, OPC UA: of that certificate.")
    confirm: Literal["transport", "mes"] = Field(
        "transport", description="MQTT, Sparkplug, OPC UA: whether the MES itself must confirm an event."
    )
    root: str = Field("evident", description="MQTT: first level of the topics.")
    primary_host: str = Field("", description="Sparkplug: the host application to wait for.")
    takeover: bool = Field(False, description="MQTT: start although another agent says it is at this station.")
    alarms: bool = Field(True, description="Send events of alarms too; false: for a MES that knows parts alone.")
    metrics_port: int = Field(0, ge=0, le=65535, description="Of /metrics; 0: not served.")
    metrics_host: str = Field("127.0.0.1", description="Address that /metrics listens on.")
    silence_seconds: float = Field(30.0, gt=0, description="Without a sign of life, the agent ends to be restarted.")


class TrainingSection(Section):
    """How the pages retrain a detector on the label set."""

    base: str = Field("", description="Folder of labelled pairs in DeepPCB's layout, trained on beside the label set.")
    weights: str = Field(
        "", description="A .pt to go on from; empty: the model in use, or random weights where that has no fp32 file."
    )
    epochs: int = Field(
        20, ge=1, le=1000, description="How often each image is seen, where a person asks for no other."
    )
    device: str = Field("cpu", description="cpu, or the number of a CUDA device.")


class ManufacturingSettings(Section):
    """The section ``[manufacturing]``."""

    agent: AgentSection = Field(default_factory=AgentSection)
    training: TrainingSection = Field(default_factory=TrainingSection)
