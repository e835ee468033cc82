"""What all connections of a process share: loop, read buffer, deadlines, threads, sockets."""
