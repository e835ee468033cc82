from fastproxy.message cimport ResponseHead

cpdef add_fields(list parts, list headers)
cpdef bytes field_lines(list headers)
cpdef bytes status_line(int status, bytes reason=*)
cpdef bytes response_head(ResponseHead head, bytes framing)
cpdef bytes request_head(bytes method, bytes target, bytes lines)
