// Reads safetensors: named tensors of plain numbers behind a JSON header, as views into bytes that the caller has. Like
// GgufFile, everything is validated when the file is opened, and access afterwards cannot fail.
// Source: https://huggingface.co/docs/safetensors, and the checks of its reference implementation.
#ifndef INLAY_FILES_SAFETENSORS_HPP_
#define INLAY_FILES_SAFETENSORS_HPP_

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "inlay/core/arena.hpp"
#include "inlay/core/checked.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"
#include "inlay/files/byte_reader.hpp"
#include "inlay/files/json_reader.hpp"

INLAY_BEGIN_NAMESPACE

static_assert(std::endian::native == std::endian::little, "safetensors are read in place: little-endian targets only");

// The types of whole bytes per value. The format has others (4 and 6 bits); tensors of those are listed without a type.
enum class SafetensorsType : std::uint8_t {
  kBool,
  kU8,
  kI8,
  kF8E4M3,
  kF8E5M2,
  kF8E8M0,
  kU16,
  kI16,
  kF16,
  kBF16,
  kU32,
  kI32,
  kF32,
  kU64,
  kI64,
  kF64,
};

struct SafetensorsTypeInfo {
  SafetensorsType type;
  std::string_view name;  // in the file
  std::uint8_t bytes;     // per value
};

inline constexpr std::array kSafetensorsTypes = {
    SafetensorsTypeInfo{SafetensorsType::kBool, "BOOL", 1},      SafetensorsTypeInfo{SafetensorsType::kU8, "U8", 1},
    SafetensorsTypeInfo{SafetensorsType::kI8, "I8", 1},          SafetensorsTypeInfo{SafetensorsType::kF8E4M3, "F8_E4M3", 1},
    SafetensorsTypeInfo{SafetensorsType::kF8E5M2, "F8_E5M2", 1}, SafetensorsTypeInfo{SafetensorsType::kF8E8M0, "F8_E8M0", 1},
    SafetensorsTypeInfo{SafetensorsType::kU16, "U16", 2},        SafetensorsTypeInfo{SafetensorsType::kI16, "I16", 2},
    SafetensorsTypeInfo{SafetensorsType::kF16, "F16", 2},        SafetensorsTypeInfo{SafetensorsType::kBF16, "BF16", 2},
    SafetensorsTypeInfo{SafetensorsType::kU32, "U32", 4},        SafetensorsTypeInfo{SafetensorsType::kI32, "I32", 4},
    SafetensorsTypeInfo{SafetensorsType::kF32, "F32", 4},        SafetensorsTypeInfo{SafetensorsType::kU64, "U64", 8},
    SafetensorsTypeInfo{SafetensorsType::kI64, "I64", 8},        SafetensorsTypeInfo{SafetensorsType::kF64, "F64", 8},
};

constexpr const SafetensorsTypeInfo* FindSafetensorsType(std::string_view name) {
  for (const SafetensorsTypeInfo& info : kSafetensorsTypes) {
    if (info.name == name) return &info;
  }
  return nullptr;
}

inline constexpr std::size_t kSafetensorsMaxDims = 8;
inline constexpr std::uint64_t kSafetensorsMaxHeaderBytes = 100'000'000;  // the reference implementation's limit

// One tensor. Views the file. Row-major: the last dimension is contiguous. Data is not aligned to its type.
struct SafetensorsTensor {
  std::string_view name;
  std::string_view type_name;       // as stored
  const SafetensorsTypeInfo* type;  // nullptr: a type that this library does not know
  std::uint32_t n_dims;             // 0 (one value) .. 8
  std::array<std::uint64_t, kSafetensorsMaxDims> dims;  // any may be 0; those from n_dims on are 1
  std::uint64_t offset;                                 // of the data in the file
  std::span<const std::byte> data;
  std::uint64_t record;  // of the tensor's description in the file
};

// An opened file: a small view, cheap to copy, of the file's bytes and of the index made at Open. Both must outlive it.
class SafetensorsFile {
 public:
  // Arena bytes that Open takes at most; never more than file.size() + 256. Reads the first 8 bytes only.
  static std::size_t IndexBytes(std::span<const std::byte> file) {
    const std::uint64_t header = HeaderBytes(file);
    if (header == 0) return 0;
    return ArenaBytes<Range>(MostTensors(header)) + ArenaBytes<std::uint32_t>(MostTensors(header)) * 2;
  }

  // Whether the bytes could be such a file: the first 8 are a length that fits, and a JSON object follows.
  static bool LooksLike(std::span<const std::byte> file) { return HeaderBytes(file) != 0 && file[8] == std::byte{'{'}; }

  // Validates the whole header: JSON, names, types, shapes against ranges, and that the ranges cover the data without
  // holes or overlaps. No byte of the data is read. Errors name the tensor and the byte: kTruncated, kBadFile, kTooLarge,
  // kUnsupported (an escape in a name, an unknown field), kOutOfMemory (index smaller than IndexBytes); the arena is then
  // as it was. Cost: O(header bytes + tensors * log tensors), no recursion.
  static Result<SafetensorsFile> Open(std::span<const std::byte> file, Arena& index) {
    const Arena before = index;
    SafetensorsFile opened;
    if (const Result<void> read = opened.ReadAll(file, index); !read) {
      index = before;
      return read.error();
    }
    return opened;
  }

  std::span<const std::byte> bytes() const { return file_; }
  // Where tensor data begins in the file.
  std::uint64_t data_offset() const { return kLengthBytes + header_.size(); }

  std::size_t tensor_count() const { return count_; }
  // Tensor i in the file's order; reads its description again.
  SafetensorsTensor tensor(std::size_t i) const {
    INLAY_ASSERT(i < count_);
    SafetensorsTensor tensor{};
    JsonReader reader = ReaderAt(records_[i]);
    const Result<JsonToken> name = reader.Next();
    INLAY_ASSERT(name.has_value());
    tensor.name = name->text;
    tensor.record = name->offset;
    const Result<Range> range = ReadRecord(reader, tensor);
    INLAY_ASSERT(range.has_value());
    tensor.offset = data_offset() + range->begin;
    tensor.data = file_.subspan(static_cast<std::size_t>(tensor.offset), static_cast<std::size_t>(range->end - range->begin));
    return tensor;
  }
  // O(log tensor_count).
  std::optional<SafetensorsTensor> FindTensor(std::string_view name) const {
    const std::span<const std::uint32_t> names = by_name_.first(count_);
    const auto found = std::lower_bound(names.begin(), names.end(), name, [this](std::uint32_t i, std::string_view wanted) {
      return NameOf(i) < wanted;
    });
    if (found == names.end() || NameOf(*found) != name) return std::nullopt;
    return tensor(*found);
  }

 private:
  static constexpr std::size_t kLengthBytes = 8;
  // The shortest description that is accepted bounds their number by the header's size before anything is allocated.
  static constexpr std::string_view kShortestRecord = R"("a":{"dtype":"","shape":[],"data_offsets":[0,0]})";

  // Of a tensor's bytes in the data.
  struct Range {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
  };
  static_assert(kShortestRecord.size() > sizeof(Range) + 2 * sizeof(std::uint32_t));

  SafetensorsFile() = default;

  // 0 for what Open refuses at once.
  static std::uint64_t HeaderBytes(std::span<const std::byte> file) {
    if (file.size() <= kLengthBytes) return 0;
    const std::uint64_t size = detail::LoadAs<std::uint64_t>(file.data());
    return size > kSafetensorsMaxHeaderBytes || size > file.size() - kLengthBytes ? 0 : size;
  }
  static std::size_t MostTensors(std::uint64_t header_bytes) {
    return static_cast<std::size_t>(header_bytes / kShortestRecord.size());
  }

  static TextBuffer<96> TensorField(std::string_view name) { return TextBuffer<96>("tensor ", name); }

  // A reader of one member of the header's object, as if the member were at the start of an object of its own.
  JsonReader ReaderAt(std::uint32_t record) const { return JsonReader(header_.substr(record), kLengthBytes + record, kInObject); }
  static constexpr JsonReader::InObject kInObject{};

  std::string_view NameOf(std::uint32_t i) const {
    const std::string_view rest = header_.substr(records_[i] + 1);
    return rest.substr(0, rest.find('"'));  // names have no escapes
  }

  Result<void> ReadAll(std::span<const std::byte> file, Arena& index) {
    file_ = file;
    if (file.size() < kLengthBytes) {
      return FailAt(ErrorCode::kTruncated, file.size(), "header length", "a safetensors file has at least ", kLengthBytes, " bytes");
    }
    const std::uint64_t size = detail::LoadAs<std::uint64_t>(file.data());
    if (size > kSafetensorsMaxHeaderBytes) {
      return FailAt(ErrorCode::kTooLarge, 0, "header length", "is ", size, ", must be at most ", kSafetensorsMaxHeaderBytes);
    }
    if (size > file.size() - kLengthBytes) {
      return FailAt(ErrorCode::kTruncated, 0, "header length", "is ", size, "; only ", file.size() - kLengthBytes, " bytes follow");
    }
    header_ = {reinterpret_cast<const char*>(file.data()) + kLengthBytes, static_cast<std::size_t>(size)};
    if (!header_.starts_with('{')) return FailAt(ErrorCode::kBadFile, kLengthBytes, "header", "does not start with \"{\"");
    INLAY_ASSIGN_OR_RETURN(ranges_, index.Allocate<Range>(MostTensors(size), "safetensors index"));
    INLAY_ASSIGN_OR_RETURN(records_, index.Allocate<std::uint32_t>(MostTensors(size), "safetensors index"));
    INLAY_ASSIGN_OR_RETURN(by_name_, index.Allocate<std::uint32_t>(MostTensors(size), "safetensors index"));
    INLAY_CHECK_OK(ReadHeader());
    INLAY_CHECK_OK(CheckRanges());
    return SortNames();
  }

  Result<void> ReadHeader() {
    JsonReader reader(header_, kLengthBytes);
    INLAY_CHECK_OK(reader.Expect(JsonEvent::kBeginObject, "header"));
    bool metadata = false;
    for (;;) {
      INLAY_ASSIGN_OR_RETURN(const JsonToken name, reader.Next());
      if (name.event == JsonEvent::kEndObject) break;
      if (name.text == "__metadata__") {
        if (metadata) return FailAt(ErrorCode::kBadFile, name.offset, name.text, "this key appears more than once");
        metadata = true;
        INLAY_CHECK_OK(CheckMetadata(reader));
        continue;
      }
      const TextBuffer<96> field = TensorField(name.text);
      if (name.text.empty()) return FailAt(ErrorCode::kBadFile, name.offset, field.view(), "its name is empty");
      if (name.has_escapes) {
        return FailAt(ErrorCode::kUnsupported, name.offset, field.view(), "its name holds an escape, which is not read");
      }
      SafetensorsTensor tensor{};
      tensor.name = name.text;
      INLAY_ASSIGN_OR_RETURN(const Range range, ReadRecord(reader, tensor));
      INLAY_ASSERT(count_ < records_.size());
      records_[count_] = static_cast<std::uint32_t>(name.offset - kLengthBytes);
      ranges_[count_] = range;
      by_name_[count_] = static_cast<std::uint32_t>(count_);
      ++count_;
    }
    INLAY_CHECK_OK(reader.Expect(JsonEvent::kEnd, "header"));
    return {};
  }

  // Strings by name. They mean nothing to this library.
  static Result<void> CheckMetadata(JsonReader& reader) {
    INLAY_CHECK_OK(reader.Expect(JsonEvent::kBeginObject, "__metadata__"));
    for (;;) {
      INLAY_ASSIGN_OR_RETURN(const JsonToken key, reader.Next());
      if (key.event == JsonEvent::kEndObject) return {};
      INLAY_CHECK_OK(reader.Expect(JsonEvent::kString, "__metadata__"));
    }
  }

  // The description of a tensor: everything but its name, which `tensor` has already.
  Result<Range> ReadRecord(JsonReader& reader, SafetensorsTensor& tensor) const {
    const TextBuffer<96> field = TensorField(tensor.name);
    INLAY_ASSIGN_OR_RETURN(const JsonToken start, reader.Expect(JsonEvent::kBeginObject, field.view()));
    Range range;
    bool has_type = false, has_shape = false, has_range = false;
    for (;;) {
      INLAY_ASSIGN_OR_RETURN(const JsonToken key, reader.Next());
      if (key.event == JsonEvent::kEndObject) break;
      bool& has = key.text == "dtype" ? has_type : key.text == "shape" ? has_shape : has_range;
      if (&has == &has_range && key.text != "data_offsets") {
        return FailAt(ErrorCode::kUnsupported, key.offset, field.view(), "has the unknown field \"", key.text, "\"");
      }
      if (has) return FailAt(ErrorCode::kBadFile, key.offset, field.view(), "has the field ", key.text, " twice");
      has = true;
      if (&has == &has_type) {
        INLAY_ASSIGN_OR_RETURN(const JsonToken type, reader.Expect(JsonEvent::kString, field.view()));
        tensor.type_name = type.text;
        tensor.type = FindSafetensorsType(type.text);
      } else if (&has == &has_shape) {
        INLAY_CHECK_OK(ReadShape(reader, field.view(), tensor));
      } else {
        INLAY_CHECK_OK(ReadRange(reader, field.view(), range));
      }
    }
    if (!has_type || !has_shape || !has_range) {
      return FailAt(ErrorCode::kMissing, start.offset, field.view(), "has no ",
                    !has_type ? "dtype" : !has_shape ? "shape" : "data_offsets");
    }
    return CheckSize(tensor, range, start.offset);
  }

  static Result<void> ReadShape(JsonReader& reader, std::string_view field, SafetensorsTensor& tensor) {
    tensor.dims.fill(1);
    INLAY_CHECK_OK(reader.Expect(JsonEvent::kBeginArray, field));
    for (;;) {
      INLAY_ASSIGN_OR_RETURN(const JsonToken token, reader.Next());
      if (token.event == JsonEvent::kEndArray) return {};
      const std::optional<std::uint64_t> dim = token.AsUnsigned();
      if (!dim) return FailAt(ErrorCode::kBadFile, token.offset, field, "a dimension must be an integer of at most 64 bits");
      if (tensor.n_dims == kSafetensorsMaxDims) {
        return FailAt(ErrorCode::kTooLarge, token.offset, field, "has more than ", kSafetensorsMaxDims, " dimensions");
      }
      tensor.dims[tensor.n_dims++] = *dim;
    }
  }

  static Result<void> ReadRange(JsonReader& reader, std::string_view field, Range& range) {
    INLAY_CHECK_OK(reader.Expect(JsonEvent::kBeginArray, field));
    for (std::uint64_t* bound : {&range.begin, &range.end}) {
      INLAY_ASSIGN_OR_RETURN(const JsonToken token, reader.Next());
      const std::optional<std::uint64_t> value = token.AsUnsigned();
      if (!value) return FailAt(ErrorCode::kBadFile, token.offset, field, "data_offsets must be two integers");
      *bound = *value;
    }
    INLAY_CHECK_OK(reader.Expect(JsonEvent::kEndArray, field));
    return {};
  }

  Result<Range> CheckSize(const SafetensorsTensor& tensor, const Range& range, std::uint64_t at) const {
    const TextBuffer<96> field = TensorField(tensor.name);
    const std::uint64_t room = file_.size() - data_offset();
    if (range.begin > range.end) {
      return FailAt(ErrorCode::kBadFile, at, field.view(), "its data begins at ", range.begin, " and ends before, at ", range.end);
    }
    if (range.end > room) {
      return FailAt(ErrorCode::kTruncated, at, field.view(), "its data ends at ", range.end, "; the file has ", room,
                    " bytes of data");
    }
    std::uint64_t values = 1, bytes = 0;
    bool fits = true, empty = false;
    for (std::uint32_t d = 0; d < tensor.n_dims; ++d) {
      empty |= tensor.dims[d] == 0;
      fits = fits && CheckedMultiply(values, tensor.dims[d], values);
    }
    if (empty) {
      values = 0;
      fits = true;
    }
    if (!fits) return FailAt(ErrorCode::kTooLarge, at, field.view(), "the product of its dimensions does not fit 64 bits");
    if (tensor.type == nullptr) return range;
    if (!CheckedMultiply(values, tensor.type->bytes, bytes)) {
      return FailAt(ErrorCode::kTooLarge, at, field.view(), "its size does not fit 64 bits");
    }
    if (bytes != range.end - range.begin) {
      return FailAt(ErrorCode::kBadFile, at, field.view(), "its shape takes ", bytes, " bytes, its data_offsets give it ",
                    range.end - range.begin);
    }
    return range;
  }

  // Uses the memory of the name index, which is put in order afterwards.
  Result<void> CheckRanges() {
    const std::span<std::uint32_t> order = by_name_.first(count_);
    detail::SortIndices(order, [this](std::uint32_t a, std::uint32_t b) {
      if (ranges_[a].begin != ranges_[b].begin) return ranges_[a].begin < ranges_[b].begin;
      return ranges_[a].end != ranges_[b].end ? ranges_[a].end < ranges_[b].end : a < b;
    });
    std::uint64_t end = 0;
    for (const std::uint32_t i : order) {
      if (ranges_[i].begin != end) {
        return FailAt(ErrorCode::kBadFile, kLengthBytes + records_[i], TensorField(NameOf(i)).view(), "its data begins at ",
                      ranges_[i].begin, ", ", ranges_[i].begin < end ? "inside that of another" : "after a hole that starts", " at ",
                      end);
      }
      end = ranges_[i].end;
    }
    if (data_offset() + end != file_.size()) {
      return FailAt(ErrorCode::kBadFile, data_offset() + end, "data", "the file goes on for ", file_.size() - data_offset() - end,
                    " bytes after its last tensor");
    }
    return {};
  }

  Result<void> SortNames() {
    const std::span<std::uint32_t> names = by_name_.first(count_);
    detail::SortIndices(names, [this](std::uint32_t a, std::uint32_t b) {
      const int order = NameOf(a).compare(NameOf(b));
      return order < 0 || (order == 0 && a < b);
    });
    for (std::size_t i = 1; i < count_; ++i) {
      if (NameOf(names[i - 1]) != NameOf(names[i])) continue;
      return FailAt(ErrorCode::kBadFile, kLengthBytes + records_[names[i]], TensorField(NameOf(names[i])).view(),
                    "this name appears more than once");
    }
    return {};
  }

  std::span<const std::byte> file_;
  std::string_view header_;
  std::size_t count_ = 0;
  std::span<Range> ranges_;           // [count_], and room for more, as the others
  std::span<std::uint32_t> records_;  // where each description starts in the header, at its name
  std::span<std::uint32_t> by_name_;  // in the order of their names
};

INLAY_END_NAMESPACE

#endif  // INLAY_FILES_SAFETENSORS_HPP_
