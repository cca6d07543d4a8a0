"""What goes in and out of the tagging addresses; limits and descriptions are part of the published schema."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SkipValidation, model_validator
from pydantic_core import PydanticCustomError

from service.problems import Problem
from triage.text import MAX_CHARACTERS, TextError, check_text

MAX_TITLE = 500
MAX_ID = 200
MAX_BATCH = 1000
_MAX_FIELDS = 32


def _readable(text: str) -> str:
    try:
        return check_text(text)
    except TextError:
        raise refusal("没有可读的文字", "请至少写一个看得见的字") from None


def refusal(message: str, remedy: str) -> PydanticCustomError:
    """Return the error by which a validator says in Chinese what is wrong and what to do."""
    return PydanticCustomError("told", "{message}", {"message": message, "remedy": remedy})


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _few_fields(cls, data: Any) -> Any:
        if isinstance(data, dict) and len(data) > _MAX_FIELDS:
            raise refusal(f"有 {len(data):,} 个字段，远多于所需", "请只留 /openapi.json 里列出的字段")
        return data


class TriageRequest(_Body):
    """一件来件。"""

    text: Annotated[str, AfterValidator(_readable)] = Field(
        min_length=1, max_length=MAX_CHARACTERS, description="来件正文，1 到 20,000 个字（Unicode 码点）"
    )
    title: str | None = Field(
        default=None,
        max_length=MAX_TITLE,
        description="来件标题，最多 500 个字，与正文合计不超过 20,000 个字；空串等于不填",
    )
    id: str | None = Field(
        default=None, max_length=MAX_ID, description="来件编号，原样返回，最多 200 个字；请勿放个人信息"
    )

    @model_validator(mode="after")
    def _readable_together(self) -> TriageRequest:
        together = len(self.title) + 1 + len(self.text) if self.title else 0
        if together > MAX_CHARACTERS:
            message = f"标题、换行与正文合计有 {together:,} 个字，上限是 {MAX_CHARACTERS:,} 个字"
            raise refusal(message, "请缩短正文或省去标题")
        return self


class BatchRequest(_Body):
    """一批来件；各件单独检查，一件有误不影响其余。"""

    items: list[SkipValidation[TriageRequest]] = Field(
        min_length=1, max_length=MAX_BATCH, description="来件，按此次序返回结果"
    )


class Span(BaseModel):
    """原文中的一段，半开区间 [start, end)，按 Unicode 码点计；有标题时从“标题 + 换行 + 正文”的开头数起。"""

    start: int = Field(ge=0, description="起点")
    end: int = Field(ge=1, description="终点（不含）")
    text: str = Field(description="这一段原文")


class Scored(BaseModel):
    """一个类别、它的概率和依据。"""

    code: str = Field(description="类别代码，见 /v1/taxonomy")
    probability: float = Field(ge=0, le=1, description="校准后的概率")
    evidence: list[Span] = Field(description="对这一判断影响最大的原文")


class CueSpan(Span):
    """一处线索。"""

    kind: str = Field(description="repeat 重复、collective 集体、escalation 扬言升级、danger 危险")
    source: str = Field(description="找到它的规则或模型")


class InstitutionSpan(Span):
    """一处涉事单位。"""

    key: str = Field(description="同一单位不同写法共用的键")


class PersonalSpan(BaseModel):
    """一处个人信息；只给位置，不给内容。"""

    kind: str = Field(description="种类，如 phone 电话、resident_id 身份证号、name 姓名、address 住址")
    start: int = Field(ge=0, description="起点")
    end: int = Field(ge=1, description="终点（不含）")


class TriageResult(BaseModel):
    """一件来件的标注。"""

    id: str | None = Field(description="来件编号，与请求相同")
    topic: str = Field(description="主要内容分类的代码")
    topics: list[Scored] = Field(description="内容分类，最多三个，第一个是主要的")
    purpose: Scored = Field(description="诉求类别")
    needs_review: bool = Field(description="把握不足，须人工核定分类")
    cues: list[CueSpan] = Field(description="重复、集体、升级、危险的线索")
    headcount: int | None = Field(description="文中说到的人数，没有则为 null")
    institutions: list[InstitutionSpan] = Field(description="涉事单位，第一个是被反映的")
    personal_data: list[PersonalSpan] = Field(description="个人信息所在位置")
    confidential: bool = Field(description="检举控告等，材料和情况不得转给被反映的单位、个人")
    danger: bool = Field(description="有危及人身安全的线索，须立即处置")
    model: str = Field(description="给出标注的模型版本")


class BatchFailure(BaseModel):
    """批中未能标注的一件。"""

    id: str | None = Field(description="来件编号；编号本身有误时为 null")
    error: Problem = Field(description="原因和改法")


class BatchResult(BaseModel):
    """一批的结果。"""

    results: list[TriageResult | BatchFailure] = Field(description="与 items 次序相同")
    count: int = Field(ge=0, description="收到的件数")
    failed: int = Field(ge=0, description="未能标注的件数")


class Health(BaseModel):
    """进程存活。"""

    status: str = Field(description="ok")


class Readiness(BaseModel):
    """可以标注。"""

    status: str = Field(description="ready")
    model: str = Field(description="在用的模型版本")


class SubtopicEntry(BaseModel):
    """二级内容分类。"""

    code: str = Field(description="代码")
    name: str = Field(description="名称")
    description: str = Field(description="范围")
    official: list[str] = Field(description="对应的国家信访内容分类，一级/二级/三级")


class TopicEntry(BaseModel):
    """一级内容分类。"""

    code: str = Field(description="代码")
    name: str = Field(description="名称")
    description: str = Field(description="范围")
    office: str = Field(description="责任科室")
    children: list[SubtopicEntry] = Field(description="二级分类")


class PurposeEntry(BaseModel):
    """诉求类别。"""

    code: str = Field(description="代码")
    name: str = Field(description="名称")
    description: str = Field(description="范围")
    confidential: bool = Field(description="是否须对被反映方保密")


class TaxonomyResult(BaseModel):
    """本单位在用的分类。"""

    version: int = Field(description="分类文件的版本号")
    fingerprint: str = Field(description="分类文件的 SHA-256")
    topics: list[TopicEntry] = Field(description="内容分类与责任科室")
    purposes: list[PurposeEntry] = Field(description="诉求类别")
