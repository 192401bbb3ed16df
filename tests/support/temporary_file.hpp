// Files and folders that go away with their object.
#ifndef INLAY_TESTS_SUPPORT_TEMPORARY_FILE_HPP_
#define INLAY_TESTS_SUPPORT_TEMPORARY_FILE_HPP_

#include <unistd.h>

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

namespace inlay_test {

inline void WriteFile(const std::string& path, std::span<const std::byte> bytes) {
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

inline std::string TemporaryPath(std::string_view name) {
  return (std::filesystem::temp_directory_path() / ("inlay_" + std::to_string(::getpid()) + "_" + std::string(name))).string();
}

class TemporaryFile {
 public:
  explicit TemporaryFile(std::string_view name) : path_(TemporaryPath(name)) {}
  TemporaryFile(std::string_view name, std::span<const std::byte> bytes) : TemporaryFile(name) { Write(bytes); }
  ~TemporaryFile() {
    std::error_code error;
    std::filesystem::remove(path_, error);
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  const char* path() const { return path_.c_str(); }
  void Write(std::span<const std::byte> bytes) const { WriteFile(path_, bytes); }

 private:
  std::string path_;
};

class TemporaryFolder {
 public:
  explicit TemporaryFolder(std::string_view name) : path_(TemporaryPath(name)) { std::filesystem::create_directory(path_); }
  ~TemporaryFolder() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }

 private:
  std::string path_;
};

}  // namespace inlay_test

#endif  // INLAY_TESTS_SUPPORT_TEMPORARY_FILE_HPP_
