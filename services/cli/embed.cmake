# cmake -DIN=<file> -DOUT=<file.cc> -P embed.cmake: the file as kDescriptorSet.
file(READ ${IN} hex HEX)
string(LENGTH "${hex}" digits)
math(EXPR size "${digits} / 2")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
file(WRITE ${OUT} "#include <cstddef>
namespace concordat::cli {
extern const unsigned char kDescriptorSet[] = {${bytes}};
extern const size_t kDescriptorSetSize = ${size};
}  // namespace concordat::cli
")
