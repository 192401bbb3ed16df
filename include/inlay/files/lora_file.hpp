// Low-rank adapters (LoRA, arXiv:2106.09685) in GGUF files: which matrices of a model they change, and how. What the model is
// like is not known here; see weights/adapter.hpp.
// Source: ggml's conventions for adapters (general.type = "adapter", adapter.type = "lora"). Where a model has several matrices in
// one tensor (experts), A and B have one for each, or A one for all. For a table of embeddings A is stored transposed, so that
// a token's part of it is a row.
#ifndef INLAY_FILES_LORA_FILE_HPP_
#define INLAY_FILES_LORA_FILE_HPP_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "inlay/core/finite.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"
#include "inlay/files/gguf.hpp"

INLAY_BEGIN_NAMESPACE

inline constexpr std::uint64_t kMaxLoraRank = 65536;

// The change of one tensor of matrices W [rows, cols]: W x becomes W x + scale * B (A x). For a table of embeddings W^T is
// what is changed: row t becomes W_t + scale * B A_t. Views the file.
struct LoraPair {
  std::string_view base;  // W's name
  GgufTensor a;           // [rank, cols], one or `count` of them; [rows, rank] for a table
  GgufTensor b;           // [rows, rank], `count` of them; [cols, rank] for a table
  bool table = false;
  std::size_t rank = 0;
  std::uint64_t rows = 0;
  std::uint64_t cols = 0;
  std::uint64_t count = 1;
};

// An adapter's file: a view of an opened GGUF file, which must outlive it.
class LoraFile {
 public:
  // Checks everything that can be checked without the model: the keys; that every tensor is one of a pair "NAME.lora_a",
  // "NAME.lora_b" of one rank, as many matrices and types that can be decoded, all values finite. Errors name key or tensor:
  // kMissing, kMismatch, kUnsupported, kNonFinite. Cost: one pass over the file.
  static Result<LoraFile> Open(const GgufFile& file) {
    INLAY_CHECK_OK(RequireText(file, "general.type", "adapter"));
    INLAY_CHECK_OK(RequireText(file, "adapter.type", "lora"));
    LoraFile lora(file);
    INLAY_ASSIGN_OR_RETURN(lora.architecture_, file.GetString("general.architecture"));
    INLAY_ASSIGN_OR_RETURN(lora.alpha_, file.GetFloat("adapter.lora.alpha"));
    if (!IsFinite(lora.alpha_)) {
      return FailAt(ErrorCode::kNonFinite, file.Find("adapter.lora.alpha")->offset, "adapter.lora.alpha", "is NaN or infinite");
    }
    for (std::size_t i = 0; i < file.tensor_count(); ++i) {
      const GgufTensor tensor = file.tensor(i);
      const bool is_a = tensor.name.ends_with(kA);
      if ((!is_a && !tensor.name.ends_with(kB)) || tensor.name.size() == kA.size()) {
        return FailAt(ErrorCode::kMismatch, tensor.record, Field(tensor.name).view(), "is neither NAME", kA, " nor NAME", kB);
      }
      const std::string_view base = tensor.name.substr(0, tensor.name.size() - kA.size());
      const TextBuffer<kLongName> other(base, is_a ? kB : kA);
      if (!file.FindTensor(other.view())) {
        return FailAt(ErrorCode::kMissing, tensor.record, Field(tensor.name).view(), "has no ", is_a ? kB : kA, " beside it");
      }
      if (is_a) INLAY_CHECK_OK(CheckPair(lora.PairOf(tensor)));
    }
    INLAY_CHECK_OK(file.CheckFinite());
    return lora;
  }

  const GgufFile& file() const { return *file_; }
  std::string_view architecture() const { return architecture_; }  // of the model that it was trained for
  // What B (A x) is multiplied with, beside what the user asks for: alpha / rank, or 1 where alpha is 0.
  float Scale(std::size_t rank) const { return alpha_ == 0.0f ? 1.0f : alpha_ / static_cast<float>(rank); }

  // Calls f(LoraPair) -> Result<void> for every pair, in the file's order, until one fails.
  template <class F>
  Result<void> ForPairs(F&& f) const {
    for (std::size_t i = 0; i < file_->tensor_count(); ++i) {
      const GgufTensor tensor = file_->tensor(i);
      if (tensor.name.ends_with(kA)) INLAY_CHECK_OK(f(PairOf(tensor)));
    }
    return {};
  }
  // The change of the matrix of this name, if any.
  std::optional<LoraPair> Find(std::string_view base) const {
    const std::optional<GgufTensor> a = file_->FindTensor(TextBuffer<kLongName>(base, kA).view());
    return a ? std::optional<LoraPair>(PairOf(*a)) : std::nullopt;
  }

 private:
  static constexpr std::string_view kA = ".lora_a", kB = ".lora_b";
  // No model's tensor has a longer name; what is longer is cut, and then not found.
  static constexpr std::size_t kLongName = 512;

  explicit LoraFile(const GgufFile& file) : file_(&file) {}

  static TextBuffer<96> Field(std::string_view name) { return TextBuffer<96>("tensor ", name); }

  static Result<void> RequireText(const GgufFile& file, std::string_view key, std::string_view wanted) {
    INLAY_ASSIGN_OR_RETURN(const std::string_view found, file.GetString(key));
    if (found == wanted) return {};
    return FailAt(ErrorCode::kMismatch, file.Find(key)->offset, key, "is \"", found, "\", must be \"", wanted, "\"");
  }

  LoraPair PairOf(const GgufTensor& a) const {
    const std::string_view base = a.name.substr(0, a.name.size() - kA.size());
    const GgufTensor b = *file_->FindTensor(TextBuffer<kLongName>(base, kB).view());
    const bool table = base.ends_with("token_embd.weight");
    LoraPair pair{base, a, b, table};
    pair.rank = static_cast<std::size_t>(table ? a.dims[0] : a.dims[1]);
    pair.rows = table ? a.dims[1] : b.dims[1];
    pair.cols = table ? b.dims[1] : a.dims[0];
    pair.count = b.dims[2];
    return pair;
  }

  static Result<void> CheckPair(const LoraPair& pair) {
    for (const GgufTensor* tensor : {&pair.a, &pair.b}) {
      if (tensor->type == nullptr || !tensor->type->multiplies) {
        return FailAt(ErrorCode::kUnsupported, tensor->record, Field(tensor->name).view(), "type ", tensor->type_id,
                      " cannot be decoded");
      }
      if (tensor->dims[3] != 1 || (pair.table && tensor->dims[2] != 1)) {
        return FailAt(ErrorCode::kUnsupported, tensor->record, Field(tensor->name).view(), "has more than ", pair.table ? 2 : 3,
                      " dimensions");
      }
    }
    if (pair.rank != pair.b.dims[0]) {
      return FailAt(ErrorCode::kMismatch, pair.b.record, Field(pair.b.name).view(), "has rank ", pair.b.dims[0], ", ", kA, " has ",
                    pair.rank);
    }
    if (pair.a.dims[2] != 1 && pair.a.dims[2] != pair.count) {
      return FailAt(ErrorCode::kMismatch, pair.b.record, Field(pair.b.name).view(), "has ", pair.count, " matrices, ", kA, " has ",
                    pair.a.dims[2]);
    }
    if (pair.rank > kMaxLoraRank) {
      return FailAt(ErrorCode::kTooLarge, pair.a.record, Field(pair.a.name).view(), "has rank ", pair.rank, ", at most ",
                    kMaxLoraRank);
    }
    return {};
  }

  const GgufFile* file_;
  std::string_view architecture_;
  float alpha_ = 0.0f;
};

INLAY_END_NAMESPACE

#endif  // INLAY_FILES_LORA_FILE_HPP_
